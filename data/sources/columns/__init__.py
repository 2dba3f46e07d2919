"""Long lists of clips as columns in NumPy files: mapped, shared between processes, cached beside their manifest."""
