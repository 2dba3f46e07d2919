"""Speech over UDP, live: packets at the pace of speech, a jitter buffer, concealment and statistics."""
