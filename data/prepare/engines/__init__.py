"""Where shards are made: threads of this process, or a Ray cluster."""
