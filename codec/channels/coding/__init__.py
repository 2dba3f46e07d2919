"""Forward error correction, and channels behind it."""
