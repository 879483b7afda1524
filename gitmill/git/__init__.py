"""Git: objects, refs, trees, notes, worktrees; it does not know items."""
