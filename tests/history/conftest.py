"""Every test here has to leave a history that `fsck` finds nothing wrong with."""

from __future__ import annotations

from tests.support.true_history import true_history

__all__ = ["true_history"]
