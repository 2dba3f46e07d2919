"""Lists of audio in the forms of the field: tables, JSON lines, lists of paths, Kaldi, Lhotse, Hugging Face."""
