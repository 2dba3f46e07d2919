"""Tests of preparing corpora."""
