"""The state branch: layout, snapshot, the one writer, history."""
