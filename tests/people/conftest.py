"""Every test of this folder must leave a history in which `fsck` finds no fault."""

from __future__ import annotations

from tests.support.true_history import true_history

__all__ = ["true_history"]
