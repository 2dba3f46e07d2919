"""Where results go: loggers, files, predictions."""
