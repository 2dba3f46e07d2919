"""Losses of the generator and of the discriminators."""
