"""Training on several ranks: strategies, failing ranks, stop signals."""
