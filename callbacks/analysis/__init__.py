"""Analyses of a codec: bits, error spread, agreement of two encoders, cost."""
