"""Look after gitmill itself: doctor, uninit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gitmill.cli import output
from gitmill.errors import Exit

if TYPE_CHECKING:
    from gitmill.flows.doctor import Told

verbs = typer.Typer(add_completion=False, no_args_is_help=True)

_LEVELS = {"ok": "ok", "note": "muted", "warning": "warn", "problem": "fail"}


@verbs.callback()
def _verbs() -> None:
    """Commands that are one word."""


@verbs.command()
def doctor(
    *,
    fix: Annotated[bool, typer.Option("--fix", help="Do what is safe of what would help.")] = False,
) -> int:
    """Look at everything that can be wrong here and say what to type; changes nothing by itself."""
    from gitmill.flows import doctor as flow

    folder = Path(output.settings.directory)
    told = flow.examine(folder)
    done = flow.mend(told) if fix else []
    if done:
        told = flow.examine(folder)
    for sentence in done:
        output.say(sentence)
    counts = {level: sum(one.sign.level == level for one in told) for level in _LEVELS}
    code = Exit.FAILED if counts["problem"] else Exit.OK
    output.answer(
        [line for one in told for line in _lines(one)],
        {"checks": [_json(one) for one in told], "done": done, "exit": int(code)},
    )
    output.say(", ".join(f"{count} {level}" for level, count in counts.items() if count))
    if any(one.sign.fix for one in told) and not fix:
        output.next_step("gitmill doctor --fix")
    elif code is Exit.OK:
        output.next_step("gitmill status")
    return int(code)


def _lines(one: Told) -> list[str]:
    level = output.style(f"{one.sign.level.value:<8}", _LEVELS[one.sign.level.value])
    hint = output.style("hint", "accent")
    return [
        f"{level} {one.name:<14} {one.sign.text}",
        *(f"{'':<8} {'':<14} {hint}: {text}" for text in one.sign.hints),
    ]


def _json(one: Told) -> dict[str, Any]:
    return {
        "name": one.name, "level": one.sign.level.value, "text": one.sign.text,
        "hints": list(one.sign.hints), "fixable": one.sign.fix is not None,
    }  # fmt: skip
