"""The audit of a state branch: every commit replayed and judged by the rules of core."""
