"""The audit of a state branch: every commit is replayed and checked against the rules of core."""
