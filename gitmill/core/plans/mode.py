"""Modes: a named choice of agents and gates, shipped as a document or written in the policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from gitmill.config import POLICY_FILE, ModePolicy, Policy
from gitmill.config.problems import nearest
from gitmill.config.values import When
from gitmill.core.front_matter import read_handwritten
from gitmill.errors import CannotCompileError
from gitmill.hints import Hint


@dataclass(frozen=True)
class Mode:
    """The agents of each role in order of preference, and the mode's requirements by stage name.

    The requirements are when a gate asks a person, the number of approvals, and the other stages
    whose agents must not run the stage.
    """

    name: str
    path: str
    roles: Mapping[str, tuple[str, ...]]
    gates: Mapping[str, When] = field(default_factory=dict)
    approvals: Mapping[str, int] = field(default_factory=dict)
    distinct_from: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_mode(path: str, text: str) -> Mode:
    """Read a shipped mode; its name is that of its file.

    Raises `BadDocumentError` with file, line, key and the expected value.
    """
    document = read_handwritten(path, text).read(ModePolicy)
    return _over(Mode(PurePosixPath(path).stem, path, {}), path, document)


def all_modes(shipped: Mapping[str, Mode], policy: Policy) -> dict[str, Mode]:
    """Return the modes by name. A mode of the policy changes the shipped one of the same name."""
    modes = dict(shipped)
    for name, own in policy.modes.items():
        modes[name] = _over(shipped.get(name, Mode(name, "", {})), POLICY_FILE, own)
    return modes


def _over(below: Mode, path: str, own: ModePolicy) -> Mode:
    return Mode(
        below.name,
        path,
        roles={**below.roles, **own.roles},
        gates={**below.gates, **own.gates},
        approvals={**below.approvals, **own.approvals},
        distinct_from={**below.distinct_from, **own.distinct_from},
    )


def choose_mode(shipped: Mapping[str, Mode], policy: Policy, *, name: str | None = None) -> Mode:
    """Return the mode of that name, else the policy's. Raises `CannotCompileError` if unknown."""
    modes, wanted = all_modes(shipped, policy), name or policy.mode
    if wanted in modes:
        return modes[wanted]
    close = nearest(wanted, list(modes))
    raise CannotCompileError(
        f"there is no mode {wanted}",
        evidence=[] if name else [f'{POLICY_FILE}: mode = "{wanted}"'],
        hints=[Hint(f"did you mean `{close}`?")]
        if close
        else [Hint(f"the modes are {', '.join(modes)}")],
    )
