"""The state branch: its layout, snapshots, the only writer, and the history."""
