"""Every test here must leave a history without `fsck` findings."""

from __future__ import annotations

from tests.support.true_history import true_history

__all__ = ["true_history"]
