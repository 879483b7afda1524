"""The history: verify it, undo its last events, read an earlier state."""
