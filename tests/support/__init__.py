"""What the tests share: real repositories, real processes, agents that behave."""
