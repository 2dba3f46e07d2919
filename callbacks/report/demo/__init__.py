"""A page on which one hears codecs behind noisy channels, as one file: `python -m callbacks.report --demo -o demo.html`."""
