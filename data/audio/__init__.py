"""Reading audio: files, crops by seeking, clips in memory, shards, data workers, the record of bad files."""
