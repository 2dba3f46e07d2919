"""Corpora as parts to inject: each source lists the clips of a folder, a manifest, a download or the demo corpus."""
