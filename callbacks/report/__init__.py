"""A listening page from the folders of tested runs: `python -m callbacks.report RUN... -o report.html`."""
