"""LightningModules that train codecs, and what they are made of."""
