"""Tests of the page on which one hears the channel."""
