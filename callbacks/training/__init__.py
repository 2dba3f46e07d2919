"""Callbacks of a training run: checkpoints, averaged weights, checks, usage, speed and curves."""
