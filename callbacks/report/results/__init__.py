"""`python -m callbacks.report.results`: RESULTS.md from the runs that scored the codecs."""
