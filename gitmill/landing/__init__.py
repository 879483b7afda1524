"""The merge queue: replay, check, publish, read back; recovery and reverts of what has landed."""
