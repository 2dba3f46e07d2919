"""Reading audio: files, crops by seeking, clips in memory, the record of bad files."""
