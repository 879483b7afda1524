"""Unexpected exceptions: print one line, write a report to paste into an issue."""

from __future__ import annotations

import platform
import sys
import time
import traceback
from pathlib import Path

from gitmill import __version__, process
from gitmill.cli import output
from gitmill.core.redaction import redact
from gitmill.errors import BugError, GitmillError
from gitmill.hints import Gitmill, Hint


def report(bug: BaseException) -> int:
    """Write the report and print its path."""
    text = _text(bug)
    path = _write(text)
    hint = (
        Hint(f"the report is {path}") if path else Hint("run it again with `-v` for the traceback")
    )
    if path is None or output.settings.verbose:
        sys.stderr.write(text)
    return output.error(
        BugError(
            f"gitmill stopped on an unexpected {type(bug).__name__}; "
            "everything committed before is intact",
            hints=[hint, Hint("clean up unfinished work with", Gitmill("recover"))],
        )
    )


def _text(bug: BaseException) -> str:
    trace = "".join(traceback.format_exception(bug))
    lines = [
        f"# gitmill {__version__}: {type(bug).__name__}",
        "",
        f"- command: `{redact(' '.join(sys.argv), process.secrets())}`",
        f"- Python {platform.python_version()} on {platform.platform()}",
        "",
        "```",
        redact(trace, process.secrets()).rstrip(),
        "```",
        "",
    ]
    return "\n".join(lines)


def _write(text: str) -> Path | None:
    """Write the report into the repository's private folder; return None if that fails."""
    from gitmill.flows.open_mill import private_folder

    try:
        folder = private_folder(Path(output.settings.directory))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"bug-{time.strftime('%Y%m%d-%H%M%S')}.md"
        path.write_text(text, "utf-8", "replace")
    except (GitmillError, OSError):
        return None
    return path
