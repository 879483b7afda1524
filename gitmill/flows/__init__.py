"""One file per thing that a user asks for."""
