"""Speech metrics on NumPy signals; free of PyTorch, so that a scoring worker starts quickly."""
