"""Modes: a named choice of agents and gates, shipped as a document or written in the policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict, Field

from gitmill.config import POLICY_FILE, Policy
from gitmill.config.problems import nearest
from gitmill.config.values import Name, When
from gitmill.core.handwritten import read_handwritten
from gitmill.errors import CannotCompileError


@dataclass(frozen=True)
class Mode:
    """Which agent serves each role, and when each gate asks a person."""

    name: str
    path: str
    roles: Mapping[str, str]
    gates: Mapping[str, When]


class _ModeDocument(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    roles: Mapping[Name, Name] = Field({}, examples=["{builder: shell}"])
    gates: Mapping[Name, When] = Field({}, examples=["{approve: always}"])


def read_mode(path: str, text: str) -> Mode:
    """Read a shipped mode; it has the name of its file.

    Raises `BadDocumentError` naming file, line, key and what was expected.
    """
    document = read_handwritten(path, text).read(_ModeDocument)
    return Mode(PurePosixPath(path).stem, path, dict(document.roles), dict(document.gates))


def all_modes(shipped: Mapping[str, Mode], policy: Policy) -> dict[str, Mode]:
    """Return the modes by name. One of the policy lies over the shipped one of the same name."""
    modes = dict(shipped)
    for name, own in policy.modes.items():
        below = shipped.get(name, Mode(name, POLICY_FILE, {}, {}))
        roles, gates = {**below.roles, **own.roles}, {**below.gates, **own.gates}
        modes[name] = Mode(name, POLICY_FILE, roles, gates)
    return modes


def choose_mode(shipped: Mapping[str, Mode], policy: Policy, *, name: str | None = None) -> Mode:
    """Return the mode of that name, else the policy's. Raises `CannotCompileError` if unknown."""
    modes, wanted = all_modes(shipped, policy), name or policy.mode
    if wanted in modes:
        return modes[wanted]
    close = nearest(wanted, list(modes))
    raise CannotCompileError(
        f"there is no mode {wanted}",
        evidence=[] if name else [f'{POLICY_FILE}: mode = "{wanted}"'],
        hints=[f"did you mean `{close}`?"] if close else [f"the modes are {', '.join(modes)}"],
    )
