"""Flows: one file per command that a user types."""
