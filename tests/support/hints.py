"""Hints as screens print them, and whether the command line accepts their commands.

`pytest --run-hints` also runs each command once, in a copy of the repository that it was printed in.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from gitmill.cli import command_line
from gitmill.cli.dispatch import NOUNS, VERBS
from gitmill.hints import Hint

HELP = (
    "run each command of a hint or `next:` that a screen prints, once in each process that tests, "
    "in a copy of the repository; it may fail there, but not as misused or with a bug"
)
GLOBALS = {"-C": 1, "--at": 1, "--color": 1, "-q": 0, "-v": 0, "--json": 0, "--no-input": 0}
_LINE = re.compile(r"^(?:next|hint): .*|^ +hint: .*", re.MULTILINE)
_COMMAND = re.compile(r"(?:^|\$\(|&& )(gitmill\b(?:(?! &&|\)\").)*)")
_VARYING = re.compile(r"\bt-[0-9a-hjkmnp-tv-z]{5,}\b|\b[0-9a-f]{7,64}\b|/\S+")
_USAGE, _BUG = 2, 70

runs = False  # set by the option
_ran: set[str] = set()


def shown(hints: Iterable[Hint]) -> tuple[str, ...]:
    """Return each hint as a screen shows it."""
    return tuple(command_line.sentence(hint) for hint in hints)


def printed(text: str) -> Iterator[list[str]]:
    """Yield the gitmill commands that hints and `next:` of a screen name, without `gitmill`."""
    for line in _LINE.findall(text):
        spans = re.findall(r"`([^`]+)`", line)
        for command in (match for span in spans for match in _COMMAND.findall(span)):
            yield shlex.split(command)[1:]
    for line in text.splitlines():
        if line.startswith('{"schema"'):
            yield from (words[1:] for words in _argvs(json.loads(line)))


def _argvs(data: Any) -> Iterator[list[str]]:
    """Yield every value of a key `argv`."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        if key == "argv":
            yield value
        elif isinstance(value, (dict, list)):
            yield from _argvs(value)


def check(text: str) -> None:
    """Fail unless the command line accepts every command that a screen names."""
    for words in printed(text):
        accept(words)


def run_each(text: str, folder: Path, env: dict[str, str]) -> None:
    """With `--run-hints`, run what a screen names and no earlier one did; see `HELP`."""
    for words in printed(text) if runs else ():
        shape = _VARYING.sub("X", shlex.join(words))
        if shape not in _ran and words != ["stop"]:  # the copy names the processes of the original
            _ran.add(shape)
            code, said = _run_in_copy(runnable(words), folder, env)
            assert code not in (_USAGE, _BUG), f"gitmill {shlex.join(words)}: {code}\n{said}"


def accept(words: Sequence[str]) -> None:
    """Fail unless the command line accepts these words; a word `…` stands for any more."""
    words = without_globals(words)
    if words[-1:] == ["…"] and words[-2:-1] != ["-m"]:
        words.pop()
    if not words or "--help" in words[:2]:
        assert all(w in VERBS or w in NOUNS or w == "--help" for w in words), words
        return
    name, *args = words
    assert name in VERBS or name in NOUNS, f"there is no command {name}"
    verb, *rest = [name, *args] if name in VERBS else args or ["list"]
    command = _group(name).commands.get(verb)
    assert command, f"there is no command {name} {verb}"
    if "--help" not in rest:
        command.make_context(verb, rest)


def runnable(words: Sequence[str]) -> list[str]:
    """Return words to run without a person: `--help` in place of a final `…`, and no question."""
    if words[-1:] == ["…"] and words[-2:-1] != ["-m"]:
        return [*words[:-1], "--help"]
    asks = words[:1] == ["uninit"] and "--yes" not in words
    return [*words, *(["--yes"] if asks else [])]


def without_globals(words: Sequence[str]) -> list[str]:
    """Return a command line from its verb or noun on."""
    at = 0
    while at < len(words) and words[at] in GLOBALS:
        at += 1 + GLOBALS[words[at]]
    return list(words[at:])


@cache
def _group(name: str) -> Any:
    import typer

    module, app = (VERBS[name], "verbs") if name in VERBS else (NOUNS[name], name)
    return typer.main.get_command(getattr(import_module(f"gitmill.cli.{module}"), app))


def _run_in_copy(words: list[str], folder: Path, env: dict[str, str]) -> tuple[int, str]:
    """Run a command in a copy of the repository of a folder; return its exit code and output."""
    from tests.support.server import Server

    query = ["git", "-C", str(folder), "rev-parse", "--show-toplevel"]
    found = subprocess.run(query, capture_output=True, text=True, env=env, check=False)
    top = Path(found.stdout.strip() or folder)
    with tempfile.TemporaryDirectory(prefix="gitmill-hint-") as place:
        copy = Path(place) / top.name
        shutil.copytree(top, copy, symlinks=True)
        code, out, err = Server.shared().said(copy, words, env)
        return code, out + err
