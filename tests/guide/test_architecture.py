"""The pages on the architecture agree with the import contract and with the files that exist."""

from __future__ import annotations

import re
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

from tests.support.architecture import COMMAND, PAGE, ROOT, block, diagram, floors, label, written

CONTRIBUTING = ROOT / "docs/contributing.md"


def test_the_diagram_of_floors_is_the_import_contract():
    assert written() == block(), f"write it again with: {COMMAND}"


def test_siblings_share_a_floor_and_every_floor_leads_to_the_next():
    assert diagram([["cli"], ["store", "agents"], ["errors"]]) == (
        "flowchart TB\n"
        '    cli["cli/"]\n'
        '    subgraph floor2[" "]\n'
        "        direction LR\n"
        '        store["store/"]\n'
        '        agents["agents/"]\n'
        "    end\n"
        '    errors["errors.py"]\n'
        "    cli --> floor2\n"
        "    floor2 --> errors\n"
    )


def test_the_floor_plan_for_contributors_has_the_same_floors_in_the_same_order():
    rows = re.findall(r"^\| (`[^|]*`) \| .* \| .* \|$", plan_section(), re.MULTILINE)
    named = [re.findall(r"`([^`]+)`", row) for row in rows]
    assert named == [[label(name) for name in floor] for floor in floors()]


def plan_section() -> str:
    return CONTRIBUTING.read_text("utf-8").partition("## The floor plan")[2].partition("\n## ")[0]


@pytest.mark.parametrize("page", [PAGE, CONTRIBUTING], ids=lambda page: page.name)
def test_files_and_names_in_the_code_exist(page: Path):
    """A file is named from the repository's root or from `gitmill/`; `NAME` stands for any."""
    quoted = {q for q in re.findall(r"`([^`\n]+)`", page.read_text("utf-8")) if "NAME" not in q}
    files = {q for q in quoted if re.fullmatch(r"[\w.-]+/[\w./-]*", q)}
    bases = (ROOT, ROOT / "gitmill")
    assert {f for f in files if not any((base / f).exists() for base in bases)} == set()
    names = {q.removesuffix("()") for q in quoted if re.fullmatch(r"[A-Za-z_]\w*(?:\(\))?", q)}
    assert {n for n in names if not re.search(rf"\b{n}\b", code())} == set()


@cache
def code() -> str:
    modules = [*(ROOT / "gitmill").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    return "\n".join(module.read_text("utf-8") for module in modules)


def test_every_package_is_explained():
    explained = PAGE.read_text("utf-8")
    assert {n for n in chain(*floors()) if f"`{label(n)}`" not in explained} == set()
