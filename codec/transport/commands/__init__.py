"""The commands of `python -m codec`: each a function of its options, and the options of all."""
