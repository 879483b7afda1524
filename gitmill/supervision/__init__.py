"""Start commands, follow them to their end, and end every process they leave running."""
