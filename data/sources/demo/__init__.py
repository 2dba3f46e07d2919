"""The synthetic demo corpus (espeak-ng)."""
