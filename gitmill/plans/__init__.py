"""Policy, loops and modes at a commit of the target, and the frozen plans compiled from them."""
