"""Where results go: loggers, the log folder, files of predictions."""
