"""Matplotlib figures without pyplot, so without global state."""
