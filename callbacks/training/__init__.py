"""Callbacks that watch, average and save a run."""
