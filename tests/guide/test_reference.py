"""Pages that are generated are what the code says; links between pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gitmill.cli import explain
from gitmill.cli.dispatch import NOUNS, VERBS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob(".github/*.md")])


def errors_page() -> str:
    lines = [
        "# Errors",
        "",
        "Each error has a stable slug; `gitmill explain SLUG` prints the same text as this page.",
        "With `--json` an error is one JSON object on standard error: `error`, `message`,",
        "`evidence`, `hints`, `commands`, `exit`.",
        "",
        "| slug | exit | meaning |",
        "|---|---|---|",
    ]
    for slug in explain.all_terms():
        if slug not in ("fsck", "prompt"):
            *text, code = explain.lines_of(slug)
            number = re.findall(r"\d+", code)[0]
            lines.append(f"| `{slug}` | {number} | {' '.join(text).strip()} |")
    return "\n".join(lines) + "\n"


def test_the_page_of_errors_is_what_explain_says():
    """Write it anew with: python -c 'from tests.guide.test_reference import *; write()'."""
    assert (ROOT / "docs/reference/errors.md").read_text("utf-8") == errors_page()


def write() -> None:
    (ROOT / "docs/reference/errors.md").write_text(errors_page(), "utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_pages_name_exist(page: Path):
    named = re.findall(
        r"(?:`|^\$ |&& )gitmill ([a-z][a-z-]*)", page.read_text("utf-8"), re.MULTILINE
    )
    assert set(named) <= VERBS.keys() | NOUNS.keys()


def test_docstrings_and_texts_in_the_code_name_commands_that_exist():
    found = set()
    for module in (ROOT / "gitmill").rglob("*.py"):
        text = module.read_text("utf-8")
        for noun, verb in re.findall(r"`gitmill ([a-z]+)(?: ([a-z]+))?", text):
            assert noun in VERBS.keys() | NOUNS.keys(), f"{module.name}: gitmill {noun}"
            if noun in NOUNS and verb:
                found.add((noun, verb))
    for noun, verb in found:
        from importlib import import_module

        app = getattr(import_module(f"gitmill.cli.{NOUNS[noun]}"), noun)
        known = {c.name or c.callback.__name__ for c in app.registered_commands}
        assert verb in known, f"gitmill {noun} {verb}"


def test_the_two_commands_are_the_readmes_first_two_blocks():
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert blocks[0].strip().endswith("gitmill demo")
    assert blocks[1].strip().endswith("-m pytest -q")
    assert all(len(block.strip().splitlines()) == 1 for block in blocks[:2])
    contributing = (ROOT / "docs/contributing.md").read_text("utf-8")
    assert re.findall(r"```sh\n(.*?)```", contributing, re.DOTALL) == blocks[:2]
