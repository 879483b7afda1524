"""Speed, as ratios within one run: `python -m tests.bench`. Nothing here is a timed assertion."""
