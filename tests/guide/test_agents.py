"""The page of the guide about real agents, done with the real programs and a model that plays."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gitmill.flows.demo import FILES
from tests.support.clis import CLIS
from tests.support.console import Shell, Step, Transcript, sections
from tests.support.model import Answer, Asked, Model, Read, Tokens, Write
from tests.support.model.steps import Step as Act
from tests.support.programs import folder_of

PAGE = "docs/guide/agents.md"
ROOT = Path(__file__).parents[2]
SECTIONS = sections((ROOT / PAGE).read_text("utf-8"))

RENAMED = {
    name: FILES[name].replace("total(", "total_price(") for name in ("basket.py", "test_basket.py")
}
EMPTY = RENAMED["basket.py"].replace("max(prices)", "max(prices, default=None)")
TEST = "    def test_empty(self):\n        self.assertIsNone(basket.dearest([]))\n"
TESTED = RENAMED["test_basket.py"].replace("\n\nif __name__", f"\n{TEST}\n\nif __name__")
FINDING = {"file": "test_basket.py", "message": "nothing holds that an empty basket has none"}
SETTLED = ({"number": 1, "resolved": True},)


def script(asked: Asked) -> Sequence[Act]:
    """Play the builder and the reviewer of the demo, and the trial."""
    said = asked.prompt
    if "Say hello" in said:
        return [Write("hello.txt", "hello\n"), Answer("pass", "It says hello.")]
    if "You are reviewing" in said:
        if "empty basket" in said and "+    def test_empty" not in said:
            return [Answer("return", "There is no test for it.", [FINDING])]
        return [
            Answer(
                "pass", "As it should be.", earlier=SETTLED if FINDING["message"] in said else ()
            )
        ]
    if FINDING["message"] in said:
        summary = "None for an empty basket, and a test that holds it."
        return [
            Read("test_basket.py"), Write("test_basket.py", TESTED),
            Answer("pass", summary, earlier=SETTLED),
        ]  # fmt: skip
    if "empty basket" in said:
        return [Read("basket.py"), Write("basket.py", EMPTY), Answer("pass", "None for none.")]
    both = [step for name, text in RENAMED.items() for step in (Read(name), Write(name, text))]
    return [*both, Answer("pass", "It is total_price everywhere.")]


@pytest.fixture
def model() -> Iterator[Model]:
    with Model() as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize(("section", "name"), [("Claude Code", "claude"), ("Codex", "codex")])
def test_the_page_is_true(section: str, name: str, model: Model, tmp_path: Path):
    url = model.play(script, tokens=Tokens(1000, 50))
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "gitmill").symlink_to(Path(sys.executable).with_name("gitmill"))
    env = CLIS[name].environment(url)
    (programs / name).symlink_to(folder_of(name) / name)
    env["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    transcript = Transcript()
    with Shell(tmp_path, env) as shell:
        for step in SECTIONS[section]:
            check(step, transcript, *shell.run(step.command))


def check(step: Step, transcript: Transcript, status: int, real: list[str]) -> None:
    """Hold what a command printed against the page."""
    shown = "\n".join([f"{PAGE}:{step.line} exited {status} and printed this:", *real])
    assert status == 0, shown
    assert transcript.agrees(step.printed, real), shown
