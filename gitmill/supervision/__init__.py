"""Starts commands, follows them to their end, and ends what they leave running."""
