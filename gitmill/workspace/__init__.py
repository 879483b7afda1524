"""A worktree in which code of other people runs, and what keeps that code from doing harm."""
