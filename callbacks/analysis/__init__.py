"""Analyses of a codec: importance of bits, spread of errors, agreement of two encoders, cost."""
