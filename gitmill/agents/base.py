"""What an agent is: an `Attempt` goes in, a `Report` comes out.

An agent is a module of this package and offers what `Agent` has. The file's name is the name that
users type; there is no list to add it to. A file that begins with `_` is shared by agents and is
none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from pathlib import Path, PurePath
from pkgutil import iter_modules
from typing import Protocol, cast

from gitmill import process
from gitmill.core.verdict import Verdict
from gitmill.errors import AgentMissingError
from gitmill.process import Command, Outcome, script

ANY_ROLE = frozenset({"*"})  # the `ROLES` of an agent that serves whatever roles loops have


class ExitKind(StrEnum):
    """How an agent ended; only `completed` comes with a verdict."""

    COMPLETED = "completed"
    TIMED_OUT = "timed-out"
    RATE_LIMITED = "rate-limited"
    OVERLOADED = "overloaded"
    UNAUTHORISED = "unauthorised"
    UNAVAILABLE = "unavailable"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    GARBLED = "garbled"
    OVER_BUDGET = "over-budget"


SHOWN = 1 << 17  # bytes of a line that are worth looking at for those who follow
OVER_BUDGET = "over budget: "  # what a watch's reason begins with when money or time was the reason
# Nothing is wrong with the item: the agent cools down, and others may go on.
OUTAGES = frozenset(
    {ExitKind.RATE_LIMITED, ExitKind.OVERLOADED, ExitKind.UNAUTHORISED, ExitKind.UNAVAILABLE}
)
# These are not the work's fault: they cost no attempt.
BLAMELESS = OUTAGES | {ExitKind.CANCELLED}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one attempt; None where the agent does not say. `input` includes `cached`."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None

    def __add__(self, other: Usage) -> Usage:
        """Return the sum; what neither says stays unknown."""
        return Usage(
            _sum(self.input, other.input),
            _sum(self.output, other.output),
            _sum(self.cached, other.cached),
        )


NOTHING_SAID = Usage()


def _sum(one: int | None, other: int | None) -> int | None:
    return one if other is None else other + (one or 0)


def _nothing(_: str) -> None:
    """Tell nobody."""


def _unlimited(_usage: Usage, _cost: float | None) -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """All that an agent gets.

    `workdir` is the worktree (a clean checkout for a reviewer), `scratch` an empty folder outside
    of it, `findings` a file there that is empty in the first round. `home` is a folder of this
    item's and agent's own that stays as long as their sessions are of use. `number` counts
    attempts at this stage from 1. `outside` are changed paths that the item did not declare.
    `settings` are the agent's own from the policy. `confined` says that nothing it starts can write
    outside of these folders, whatever it tries. Limits in seconds.

    With a `session` to go on with, `followup` is the prompt it needs; `prompt` always says all.
    `earlier` is how many findings the prompt numbers, of each of which a verdict has to say whether
    it is resolved. `progress` is told in one line each what the agent does; `spend` hears what it
    has used so far, in tokens and US dollars, and returns why it has to stop, if it has to.
    """

    item: str
    title: str
    role: str
    permission: str
    number: int
    prompt: str
    nonce: str
    workdir: Path
    scratch: Path
    findings: Path
    home: Path
    env: Mapping[str, str]
    wall: float
    idle: float
    script: str = ""
    criteria: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    model: str = ""
    session: str = ""
    followup: str = ""
    earlier: int = 0
    confined: bool = False
    transcript: Path | None = None
    progress: Callable[[str], None] = _nothing
    spend: Callable[[Usage, float | None], str] = _unlimited
    settings: Mapping[str, object] = field(default_factory=dict)

    def command(self, argv: tuple[str, ...], *, stdin: bytes = b"", wall: float = 0) -> Command:
        """Return a command in this attempt's worktree with its environment, limits and rights."""
        return Command(
            argv, self.workdir, self.env, stdin, wall or self.wall, self.idle,
            transcript=self.transcript, access=self.permission,
        )  # fmt: skip

    def heard(self, line: bytes) -> str:
        """Be the `watch` of a command that speaks no format: all it prints is progress."""
        self.progress(line[:SHOWN].decode("utf-8", "replace"))
        return ""

    def shell(self, text: str, *, name: str = "script") -> Command:
        """Return a command that runs a shell script, which stops at its first failing line."""
        return self.command(script(self.scratch, name, text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that an agent says. `output` is what it printed, for the run log.

    `problem` says in words why it did not complete, `retry_after` in how many seconds it may be
    asked again, where its service says so. `denied` are actions that it was refused. `cost` is in
    US dollars; unknown is None and not 0.
    """

    exit: ExitKind
    verdict: Verdict | None = None
    output: str = ""
    usage: Usage = NOTHING_SAID
    cost: float | None = None
    session: str = ""
    model: str = ""
    problem: str = ""
    retry_after: float | None = None
    denied: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether an agent can run here, and what it is. `signed_in` is None where one cannot tell."""

    found: bool
    detail: str
    version: str = ""
    supported: bool = True
    signed_in: bool | None = None


@dataclass(frozen=True, slots=True)
class Login:
    """A file that keeps the user of a CLI signed in.

    `name` is where it is below a home. A user may have put what is `folder` there elsewhere (empty:
    all of the home), which the environment variable `variable` says then.
    """

    name: str
    variable: str = ""
    folder: str = ""

    def own(self) -> Path:
        """Return where this user has it."""
        elsewhere = os.environ.get(self.variable, "") if self.variable else ""
        if elsewhere:
            return Path(elsewhere).absolute() / PurePath(self.name).relative_to(self.folder)
        return process.home() / self.name


Execute = Callable[[Command], Outcome]


class Agent(Protocol):
    """What a module of this package offers.

    `ROLES` and `PERMISSIONS` say what it can serve; without `READS_PROMPT` it is spared the prompt.
    `NEEDS` names the environment variables that it gets although they are secrets, `LOGIN` the
    files that keep its user signed in, `SIGN_IN` what a user types for that.
    """

    ROLES: frozenset[str]
    PERMISSIONS: frozenset[str]
    READS_PROMPT: bool
    NEEDS: tuple[str, ...]
    LOGIN: tuple[Login, ...]
    SIGN_IN: str

    def run(self, attempt: Attempt, execute: Execute) -> Report:
        """Carry out one attempt; every process goes through `execute`."""
        ...

    def probe(self, settings: Mapping[str, object]) -> Probe:
        """Say whether it could run, without a paid call."""
        ...


def names() -> tuple[str, ...]:
    """Return the names of all agents that are built in."""
    package = import_module("gitmill.agents")
    found = (module.name for module in iter_modules(package.__path__))
    return tuple(sorted(name for name in found if name != "base" and not name.startswith("_")))


def load(name: str) -> Agent:
    """Return an agent by name; raises `AgentMissingError`, also when it is but half a one."""
    if name not in names():
        raise AgentMissingError(
            f"there is no agent {name}", hints=["see what there is with `gitmill agent list`"]
        )
    module = import_module(f"gitmill.agents.{name}")
    if lacks := [word for word in Agent.__annotations__ if not hasattr(module, word)]:
        raise AgentMissingError(
            f"the agent {name} does not say {', '.join(lacks)}",
            hints=[f"`Agent` in {__file__} says what they mean"],
        )
    return cast("Agent", module)


def program(name: str, command: Sequence[str] = ()) -> Agent:
    """Return what runs an agent of the policy: the agent `command` where it names its program.

    An agent that is built in keeps its own way; there the command says how the CLI is started.
    Raises `AgentMissingError`.
    """
    return load("command" if command and name not in names() else name)


def failure_kind(outcome: Outcome) -> ExitKind | None:
    """Return how a command ended that did not end by itself, None when it did."""
    return {
        "timed-out": ExitKind.TIMED_OUT,
        "idle": ExitKind.TIMED_OUT,
        "cancelled": ExitKind.CANCELLED,
        "lost": ExitKind.CANCELLED,
        "stopped": ExitKind.CRASHED,
        "unstartable": ExitKind.UNAVAILABLE,
    }.get(outcome.ended)


def stopped_kind(outcome: Outcome) -> ExitKind | None:
    """Return the same of a command that was watched: what it spent may have ended it."""
    over = outcome.ended == "stopped" and outcome.why.startswith(OVER_BUDGET)
    return ExitKind.OVER_BUDGET if over else failure_kind(outcome)
