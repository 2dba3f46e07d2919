"""Corpora in tar shards: read at random through a manifest, written in parallel."""
