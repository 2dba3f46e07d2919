"""A page on which one hears codecs behind noisy channels, in one file: `python -m callbacks.report --demo`."""
