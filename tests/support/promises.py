"""What the contract tests hold each CLI to, as a table for the docs."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.support.clis import CLIS
from tests.support.programs import version

_ROOT = Path(__file__).parents[2]
_MODULES = (
    "test_real",
    "test_real_faults",
    "test_real_permissions",
    "test_real_loop",
    "test_real_sandbox",
)
_QUICK = ("claude",)  # the others run with the slow tests
_PROMISES: dict[str, Mapping[str, str]] = {}


def promise(
    text: str, *, but: Mapping[str, str] | None = None, quick: Collection[str] = _QUICK
) -> Callable[[Any], Any]:
    """Run a test for each CLI as its `name`; `but` says which it is not run for, and why.

    Those that are not `quick` run with the slow tests.
    """
    _PROMISES[text] = dict(but or {})
    kept = [name for name in CLIS if name not in _PROMISES[text]]
    return pytest.mark.parametrize(
        "name",
        [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in kept],
    )


def table() -> str:
    """Return the Markdown table, in the order in which the tests stand in their files."""
    heads = [f"{name} {version(name)}" for name in CLIS]
    rows = ["| what is tested | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for module in _MODULES:
        import_module(f"tests.contract.{module}")
        source = (_ROOT / f"tests/contract/{module}.py").read_text("utf-8")
        for text in re.findall(r'^@promise\(\s*"([^"]+)"', source, re.MULTILINE):
            cells = [_PROMISES[text].get(name, "yes") for name in CLIS]
            rows.append(f"| {text} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def write() -> None:
    """Put the table into the page of the agents."""
    page = _ROOT / "docs/agents.md"
    before, _, rest = page.read_text("utf-8").partition("| what is tested |")
    after = rest.partition("\n\n")[2]
    page.write_text(before + table() + ("\n" + after if after else ""), "utf-8")
