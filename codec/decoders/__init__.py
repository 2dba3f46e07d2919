"""Decoders from latents to audio, whole or in chunks."""
