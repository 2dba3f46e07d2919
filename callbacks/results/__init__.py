"""`python -m callbacks.results`: RESULTS.md from the runs that scored the codecs."""
