"""One attempt: claim, stages, agent, record."""
