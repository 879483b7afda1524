"""What the contract tests hold each CLI to, as a table for the docs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.support.clis import CLIS
from tests.support.programs import version

# Promise -> CLI -> what there is to say of it; in the order of the tests.
TABLE: dict[str, dict[str, str]] = {}


def promise(text: str, *, but: Mapping[str, str] | None = None) -> Callable[[Any], Any]:
    """Run a test for each CLI as its `name`; `but` says which it is not run for, and why."""
    but = dict(but or {})
    TABLE[text] = {name: but.get(name, "yes") for name in CLIS}
    return pytest.mark.parametrize("name", [name for name in CLIS if name not in but])


def table() -> str:
    """Return the Markdown table."""
    heads = [f"{name} {version(name)}" for name in CLIS]
    rows = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    rows += [f"| {text} | " + " | ".join(TABLE[text].values()) + " |" for text in TABLE]
    return "\n".join(rows) + "\n"
