"""One file per agent; the file name is the name that users type."""
