"""gitmill: goals and tasks through governed loops of coding agents, with all state in git."""

__version__ = "0.1.0"
