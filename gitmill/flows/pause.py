"""Pause and resume, for every clone: new attempts, or the queue."""

from __future__ import annotations

from gitmill.mill import Mill
from gitmill.people import control


def pause(mill: Mill, reason: str) -> None:
    """Stop starting attempts; running ones continue."""
    control.pause(mill, reason)


def resume(mill: Mill) -> None:
    """Let new attempts start again."""
    control.resume(mill)


def pause_queue(mill: Mill, reason: str) -> None:
    """Stop landing."""
    control.pause_queue(mill, reason)


def resume_queue(mill: Mill) -> None:
    """Let the queue land again."""
    control.resume_queue(mill)
