"""The workspace: a worktree in which other people's code runs, and its protections."""
