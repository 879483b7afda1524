"""Values as people write them: durations, sizes, names, patterns; errors state what is expected."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

_LONGEST = 7 * 24 * 3600
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


# The lines that no change may add by default: a label for findings, and the pattern.
FORBIDDEN_LINES = {
    "rm -rf": r"\brm\s+-(?:rf|fr)\s+(?:--no-preserve-root\s+)?[/~][*]?(?:\s|$)",
    "curl | sh": r"\b(?:curl|wget)\b.*[|]\s*(?:sudo\s+)?(?:ba|da|z)?sh\b",
    "chmod 777": r"\bchmod\s+(?:-R\s+)?0?777\b",
}


class Permission(StrEnum):
    """An agent's permission for the files of its worktree."""

    READ_ONLY = "read-only"
    WORKSPACE = "workspace"
    FULL = "full"


class When(StrEnum):
    """When a gate asks a person."""

    NEVER = "never"
    ALWAYS = "always"
    HIGH_RISK = "high-risk"


class Enforce(StrEnum):
    """Whether agents and their code run in a sandbox."""

    AUTO = "auto"
    REQUIRED = "required"
    OFF = "off"


class Anchor(StrEnum):
    """When gitmill signs a tag of the state branch by itself."""

    OFF = "off"
    DAY = "day"
    LANDING = "landing"


class Network(StrEnum):
    """Whether a run has a network; it always has its own loopback."""

    ON = "on"
    OFF = "off"


def command_line(command: Sequence[str], options: Sequence[str]) -> str:
    """Return an agent's command line from the policy, in the form that trust is recorded for."""
    return shlex.join([*command, *options])


def parse_duration(value: object) -> int:
    """Return the seconds of a duration such as `90s`, `20m`, `1h30m` or `2d`.

    Raises `ValueError` with the expectation as its message.
    """
    match = re.fullmatch(
        r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", str(value), re.ASCII
    )
    counts = match.groups("0") if match and isinstance(value, str) else ()
    seconds = sum(int(n) * unit for n, unit in zip(counts, _UNITS.values(), strict=False))
    if not 0 < seconds <= _LONGEST:
        raise ValueError('a duration from "1s" to "7d", such as "90s", "20m" or "1h30m"')
    return seconds


def format_duration(seconds: int) -> str:
    """Return seconds as a duration that `parse_duration` reads."""
    parts = []
    for unit, size in _UNITS.items():
        count, seconds = divmod(seconds, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts)


def parse_size(value: object) -> int:
    """Return the bytes of a size such as `500KB`, `2MB` or `1GiB`.

    Raises `ValueError` with the expectation as its message.
    """
    match = re.fullmatch(r"([0-9]{1,12})([KMG]?i?B)", str(value), re.IGNORECASE)
    size = int(match[1]) * _SIZES.get(match[2].upper(), 0) if match else 0
    if size < 1 or not isinstance(value, str):
        raise ValueError('a size such as "500KB" or "2MB"')
    return size


def format_size(size: int) -> str:
    """Return a number of bytes as a size that `parse_size` reads."""
    unit = next(unit for unit in ("GB", "MB", "KB", "B") if size % _SIZES[unit] == 0)
    return f"{size // _SIZES[unit]}{unit}"


def _matches(pattern: str, expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(expected)
        return value

    return AfterValidator(check)


def _checked(accepts: Callable[[str], str | None]) -> AfterValidator:
    def check(value: str) -> str:
        if expected := accepts(value):
            raise ValueError(expected)
        return value

    return AfterValidator(check)


def _regex(value: str) -> str | None:
    try:
        re.compile(value)
    except re.error as error:
        return f"a regular expression ({error})"
    return None


def _placeholders(value: str) -> str | None:
    # `${word}` belongs to the shell; braces around more than one word are JSON or the like.
    unknown = set(re.findall(r"(?<!\$)\{([a-z_]+)\}", value)) - {"worktree"}
    return "a text without placeholders other than {worktree}" if unknown else None


def parse_money(value: object) -> float:
    """Return an amount of US dollars.

    Raises `ValueError` with the expectation as its message.
    """
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else 0
    if not 0 < number < 10**9:
        raise ValueError("an amount of US dollars above 0, such as 5.0")
    return float(number)


Money = Annotated[float, BeforeValidator(parse_money)]
Seconds = Annotated[int, BeforeValidator(parse_duration)]
Bytes = Annotated[int, BeforeValidator(parse_size)]


def _program(line: str) -> str | None:
    try:
        found = bool(shlex.split(line)) or not line
    except ValueError:
        found = False
    return None if found else "a program with its options"


Text = Annotated[str, _matches(r"(?s)(?=.*\S)[^\x00]+", "a text that is not empty")]
Path = Annotated[
    str, _matches(r"(?s)(?=.*\S)[^!\x00][^\x00]*", "a path as in `.gitignore`, without `!`")
]
Below = Annotated[
    str,
    _matches(
        r"(?s)(?!.*(^|/)\.{0,2}(/|$))[^\x00]+", "a path below the checkout, without `.` and `..`"
    ),
]
Name = Annotated[
    str, _matches(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,49}", "a name of letters, digits, . - and _")
]
Model = Annotated[
    str, _matches(r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,99}", "the name of a model, such as gpt-5.2")
]
Dollars = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Names = Annotated[
    tuple[Name, ...],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    Field(min_length=1),
]
ANY_AGENT = "*"  # in the roles of a mode: all other coding agents that serve the role
Agents = Annotated[
    tuple[
        Annotated[
            str,
            _matches(
                r"\*|[A-Za-z0-9][A-Za-z0-9_.-]{0,49}", "a name of letters, digits, . - and _, or *"
            ),
        ],
        ...,
    ],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    Field(min_length=1),
]
Variable = Annotated[
    str, _matches(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")
]
Digest = Annotated[str, _matches(r"[0-9a-f]{16}", "the 16 hexadecimal digits from a finding")]
Regex = Annotated[str, _checked(_regex)]
ShellLine = Annotated[str, _checked(_program)]
Value = Annotated[str, _checked(_placeholders)]
