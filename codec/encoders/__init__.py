"""Encoders from audio to latents: convolutional, spectral, semantic, and small ones for students."""
