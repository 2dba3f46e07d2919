"""The receiver: what it knows of the codes, the latents it makes of what arrived, and of what did not."""
