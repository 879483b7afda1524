"""The merge queue: replay, check, publish, read back; recovery and reverts of landed work."""
