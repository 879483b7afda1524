"""The floors of the package as a diagram, drawn from the import contract in pyproject.toml.

`python -m tests.support.architecture --write` puts it into docs/architecture.md.
"""

from __future__ import annotations

import sys
import tomllib
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/architecture.md"
COMMAND = "python -m tests.support.architecture --write"
BEGIN = f"<!-- floors: generated, `{COMMAND}` -->"
END = "<!-- end of floors -->"

Floors = list[list[str]]


def floors() -> Floors:
    """Return the floors from top to bottom; packages on one floor do not import each other."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = (c["layers"] for c in contracts if c["type"] == "layers")
    return [[name.strip() for name in layer.split("|")] for layer in layers]


def label(name: str) -> str:
    """Return how a package or module looks in `ls gitmill`."""
    return f"{name}/" if (ROOT / "gitmill" / name).is_dir() else f"{name}.py"


def diagram(of: Floors) -> str:
    """Return the floors as a Mermaid flow chart; an arrow stands for every floor below as well."""
    lines, ids = ["flowchart TB"], []
    for number, names in enumerate(of, 1):
        nodes = [f'{name}["{label(name)}"]' for name in names]
        if len(nodes) == 1:
            ids.append(names[0])
            lines.append(f"    {nodes[0]}")
            continue
        ids.append(f"floor{number}")
        lines += [f'    subgraph floor{number}[" "]', "        direction LR"]
        lines += [*(f"        {node}" for node in nodes), "    end"]
    lines += [f"    {upper} --> {lower}" for upper, lower in pairwise(ids)]
    return "\n".join(lines) + "\n"


def block() -> str:
    """Return the generated part of the page, with its marks."""
    return f"{BEGIN}\n```mermaid\n{diagram(floors())}```\n{END}"


def written() -> str:
    """Return the part of the page between its marks, marks included; empty without them."""
    text = PAGE.read_text("utf-8")
    start, end = text.find("<!-- floors:"), text.find(END)
    return text[start : end + len(END)] if 0 <= start < end else ""


def write() -> None:
    """Replace the generated part of the page."""
    old = written()
    assert old, f"{PAGE} has no lines {BEGIN} and {END}"
    PAGE.write_text(PAGE.read_text("utf-8").replace(old, block()), "utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    else:
        print(block())
