"""Data sources: each lists the clips of a corpus."""
