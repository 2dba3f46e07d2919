"""A run's folder: where it is, who writes to it, and the rows of its log."""
