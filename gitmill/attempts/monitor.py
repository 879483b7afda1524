"""Monitor an agent while it runs: its budget, its transcript, its live log."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from gitmill.agents.base import ExitKind, Report, Usage
from gitmill.attempts import transcripts
from gitmill.attempts.live_log import LiveLog
from gitmill.core.budget_rules import Allowance
from gitmill.core.item import Item
from gitmill.errors import GitmillError
from gitmill.mill import Mill


class AttemptMonitor:
    """The monitor of one attempt, from its claim to its end."""

    def __init__(self, mill: Mill, item: Item, claim: str, allowance: Allowance) -> None:
        self._mill, self._allowance = mill, allowance
        self._live = LiveLog(mill, item.id)
        run = f"{item.attempt + 1:03d}-{item.stage}"
        self.transcript: Path = transcripts.raw_path(mill, item.id, run, claim)
        self.ended = "released"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        with suppress(GitmillError, OSError):  # recovery tries it again
            transcripts.store(self._mill, self.transcript)
        self._live.over(self.ended)

    def stage(self, stage: str, who: str, ended: str = "") -> None:
        """Log that a stage starts or has ended."""
        self._live.stage(stage, who, ended)

    def progress(self, text: str) -> None:
        """Log an action of the agent."""
        self._live.does(text)

    def spend(self, usage: Usage, cost: float | None) -> str:
        """Compare the usage so far with the budget; return why the agent has to stop, else ""."""
        counts = [count for count in (usage.input, usage.output) if count is not None]
        return self._allowance.reason_to_stop(tokens=sum(counts) if counts else None, cost=cost)

    def wall(self, timeout: float) -> float:
        """Return the time limit of the agent in seconds: the stage's timeout or less."""
        return min(timeout, self._allowance.seconds or timeout)

    def within_budget(self, report: Report, *, timeout: float, took: float) -> Report:
        """Return the report, marked as over budget if the time budget ended the agent."""
        bound = self.wall(timeout)
        if report.exit is ExitKind.TIMED_OUT and bound < timeout and took >= bound:
            why = f"the time budget is used up: {took:.0f} s of the remaining {bound:.0f} s"
            return replace(report, exit=ExitKind.OVER_BUDGET, problem=why, verdict=None)
        return report
