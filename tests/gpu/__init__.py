"""What is to be run on a GPU, and its CPU form."""
