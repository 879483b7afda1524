"""The interface of agents: each takes an `Attempt` and returns a `Report`.

An agent is a module of this package with the members of `Agent`. Its file name is the name that
users type; no list has to be extended. Modules whose names begin with `_` are shared by agents.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import import_module
from pathlib import Path, PurePath
from pkgutil import iter_modules
from typing import NamedTuple, Protocol, cast

from gitmill import process, shells
from gitmill.core.product import Product
from gitmill.core.verdict import Verdict
from gitmill.errors import AgentMissingError
from gitmill.hints import Gitmill, Hint
from gitmill.process import Command, Outcome

ANY_ROLE = frozenset({"*"})  # the `ROLES` of an agent that serves every role of a loop


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


SHOWN = 1 << 17  # bytes of a line that are read for progress
OVER_BUDGET = "over budget: "  # the prefix of a watch's reason when the budget is used up
# The item is fine: the agent starts to cool down, and other agents can continue.
OUTAGES = frozenset(
    {ExitKind.RATE_LIMITED, ExitKind.OVERLOADED, ExitKind.UNAUTHORISED, ExitKind.UNAVAILABLE}
)
# The work is not to blame: these cost no attempt.
BLAMELESS = OUTAGES | {ExitKind.CANCELLED}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one attempt, None if the agent does not report them. `input` includes `cached`."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None

    def __add__(self, other: Usage) -> Usage:
        """Return the sum; a count that neither has stays unknown."""
        return Usage(
            _sum(self.input, other.input),
            _sum(self.output, other.output),
            _sum(self.cached, other.cached),
        )


UNKNOWN_USAGE = Usage()


def _sum(first: int | None, second: int | None) -> int | None:
    return first if second is None else second + (first or 0)


def _ignore(_: str) -> None:
    """Ignore progress."""


def _unlimited(_usage: Usage, _cost: float | None) -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The input of an agent.

    `workdir` is the worktree (a clean checkout for a reviewer), `scratch` an empty folder outside
    of it, `findings` a file there that is empty in the first round. `home` is a folder for this
    item and agent only, which exists as long as their sessions can be resumed. `number` counts
    attempts at this stage from 1. `outside` are the changed paths that the item did not declare.
    `settings` are the agent's settings in the policy, `shell_line` its shell for scripts. With
    `confined`, no process of the agent can write outside of these folders. Limits are in seconds.

    `prompt` is complete; `followup` is the shorter prompt for a resumed `session`. `earlier` is the
    number of numbered findings in the prompt; the verdict must state for each whether it is
    resolved. `produces` decides the schema of the verdict. `progress` receives one line for each
    action of the agent. `spend` receives the usage so far, in tokens and US dollars, and returns
    why the agent has to stop, else "".
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
    produces: Product = Product.VERDICT
    confined: bool = False
    transcript: Path | None = None
    progress: Callable[[str], None] = _ignore
    spend: Callable[[Usage, float | None], str] = _unlimited
    settings: Mapping[str, object] = field(default_factory=dict)
    shell_line: str = ""

    def command(self, argv: tuple[str, ...], *, stdin: bytes = b"", wall: float = 0) -> Command:
        """Return a command in this attempt's worktree with its environment, limits and rights."""
        return Command(
            argv, self.workdir, self.env, stdin, wall or self.wall, self.idle,
            transcript=self.transcript, access=self.permission,
        )  # fmt: skip

    def show_line(self, line: bytes) -> str:
        """Report a line of output as progress: the `watch` of a command without a format."""
        self.progress(line[:SHOWN].decode("utf-8", "replace"))
        return ""

    def run_script(self) -> Command:
        """Return the command that runs the item's script."""
        shell = shells.of_scripts(self.shell_line)
        return self.command(shell.command(self.scratch, "script", self.script))

    def check(self, text: str, *, name: str) -> Command:
        """Return the command of a check: a pipe fails with any of its commands.

        Raises `HiddenFailureError`.
        """
        return self.command(shells.of_checks(self.shell_line).command(self.scratch, name, text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The output of an agent. `output` is the text it printed, for the run log.

    `problem` is the reason why it did not complete. `retry_after` is the wait in seconds that its
    service asked for. `denied` are the actions that it was not permitted. `cost` is in US dollars;
    an unknown cost is None, not 0.
    """

    exit: ExitKind
    verdict: Verdict | None = None
    output: str = ""
    usage: Usage = UNKNOWN_USAGE
    cost: float | None = None
    session: str = ""
    model: str = ""
    problem: str = ""
    retry_after: float | None = None
    denied: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether an agent can run on this machine. `signed_in` is None if it cannot be determined."""

    found: bool
    detail: str
    version: str = ""
    supported: bool = True
    signed_in: bool | None = None


@dataclass(frozen=True, slots=True)
class Login:
    """A file that keeps the user of a CLI signed in.

    `name` is its path below a home. The environment variable `variable` can move the folder
    `folder` of the home elsewhere; an empty `folder` is the whole home.
    """

    name: str
    variable: str = ""
    folder: str = ""

    def own(self) -> Path:
        """Return the path of this user's file."""
        elsewhere = os.environ.get(self.variable, "") if self.variable else ""
        if elsewhere:
            return Path(elsewhere).absolute() / PurePath(self.name).relative_to(self.folder)
        return process.home() / self.name


class Price(NamedTuple):
    """The price of a model in US dollars per million tokens; `input` is for uncached ones."""

    input: float
    cached: float
    output: float


Execute = Callable[[Command], Outcome]


class Agent(Protocol):
    """The members of an agent's module.

    `ROLES` and `PERMISSIONS` are those it supports; without `READS_PROMPT` it gets no prompt.
    `NEEDS` names the environment variables that it gets although they are secrets, `LOGIN` the
    files that keep its user signed in, `SIGN_IN` the command that signs a user in. Below a home,
    `KEYS` are files with other secrets of its program, and `PROGRAMS` are those parts of a hidden
    folder that its program needs to start. `PRICES` are those of its vendor's models by name.

    `EXAMPLE` is what its program prints in one run, a line each: text as it is, anything else as
    JSON. The contract tests play it, with `ANSWER`, `SESSION` and `DENIED` replaced by the text of
    the answer, the id of the session and an action that was not permitted. The run used 1000 tokens
    of input, of which 100 were cached, and 50 of output.
    """

    ROLES: frozenset[str]
    PERMISSIONS: frozenset[str]
    READS_PROMPT: bool
    NEEDS: tuple[str, ...]
    LOGIN: tuple[Login, ...]
    SIGN_IN: str
    KEYS: tuple[str, ...]
    PROGRAMS: tuple[str, ...]
    PRICES: Mapping[str, Price]
    EXAMPLE: tuple[object, ...]

    def run(self, attempt: Attempt, execute: Execute) -> Report:
        """Carry out one attempt; every process goes through `execute`."""
        ...

    def probe(self, settings: Mapping[str, object]) -> Probe:
        """Return whether the agent could run, without a paid call."""
        ...


def names() -> tuple[str, ...]:
    """Return the names of the built-in agents."""
    return _modules(tuple(import_module("gitmill.agents").__path__))


@cache
def _modules(folders: tuple[str, ...]) -> tuple[str, ...]:
    modules = (module.name for module in iter_modules(folders))
    return tuple(sorted(name for name in modules if name != "base" and not name.startswith("_")))


def load(name: str) -> Agent:
    """Return an agent by name. Raises `AgentMissingError`, also when it lacks a member."""
    if name not in names():
        raise AgentMissingError(
            f"there is no agent {name}",
            hints=[Hint("list the agents with", Gitmill("agent", "list"))],
        )
    module = import_module(f"gitmill.agents.{name}")
    members = (*Agent.__annotations__, "run", "probe")
    if missing := [member for member in members if not hasattr(module, member)]:
        raise AgentMissingError(
            f"the agent {name} does not define {', '.join(missing)}",
            hints=[Hint(f"`Agent` in {__file__} describes them")],
        )
    return cast("Agent", module)


def program(name: str, command: Sequence[str] = ()) -> Agent:
    """Return the module that runs an agent of the policy, `command` if it names its own program.

    For a built-in agent the command only replaces the start of its CLI. Raises
    `AgentMissingError`.
    """
    return load("command" if command and name not in names() else name)


def failure_kind(outcome: Outcome) -> ExitKind | None:
    """Return the exit of a command that was ended or never started; None if it exited."""
    return {
        "timed-out": ExitKind.TIMED_OUT,
        "idle": ExitKind.TIMED_OUT,
        "cancelled": ExitKind.CANCELLED,
        # Without a sandbox a command can kill its supervisor; in one that is another error.
        "lost": ExitKind.CRASHED,
        "stopped": ExitKind.CRASHED,
        "unstartable": ExitKind.UNAVAILABLE,
    }.get(outcome.ended)


def stopped_kind(outcome: Outcome) -> ExitKind | None:
    """Return the same for a watched command, which its budget can have ended too."""
    over = outcome.ended == "stopped" and outcome.why.startswith(OVER_BUDGET)
    return ExitKind.OVER_BUDGET if over else failure_kind(outcome)
