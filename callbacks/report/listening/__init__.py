"""Blind listening tests: a page made from tested runs, its key, and the scores of the listeners who filled it in."""
