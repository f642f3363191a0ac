"""Settings of a command: from `key=value` on the command line to checked dataclasses, and to the text of --help."""
