"""What a shard gets of a clip: its encoding, its pieces, and what is left out."""
