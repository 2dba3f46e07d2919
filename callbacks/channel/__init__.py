"""Scores of codecs behind channels: the callback, its decoding, tables and files."""
