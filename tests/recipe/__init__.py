"""Trials of training recipes."""
