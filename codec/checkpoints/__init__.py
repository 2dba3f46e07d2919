"""Files that hold codecs and runs: reading, writing, building what they state, starting from them."""
