"""The command line: one file a command, and the runner of notebooks."""
