"""Every stage type keeps the contract; a file that is dropped in is a type, and a broken one fails."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import gitmill.attempts.stages
from gitmill.attempts import stage_types
from gitmill.attempts.claim import claim
from gitmill.cli import explain
from gitmill.core.lifecycle import Status
from gitmill.errors import CannotCompileError
from gitmill.flows.init import init
from gitmill.history.fsck import fsck
from gitmill.mill import Mill
from gitmill.people.intake import NewTask, new_task
from gitmill.workspace.stop_token import StopToken
from tests.contract import stage_contract
from tests.contract.samples import words
from tests.support.repos import Sandbox

WORDS = Path(words.__file__).read_text("utf-8")
PASS = 'return Verdict(VerdictWord.PASS, "none of the words")'


@pytest.fixture
def drop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write the text of a new stage type, `words`, where gitmill looks for stage types."""

    def write(text: str) -> Path:
        folder = tmp_path / "dropped"
        folder.mkdir()
        (folder / "words.py").write_text(text)
        path = [*gitmill.attempts.stages.__path__, str(folder)]
        monkeypatch.setattr(gitmill.attempts.stages, "__path__", path)
        importlib.invalidate_caches()
        return folder / "words.py"

    yield write
    sys.modules.pop("gitmill.attempts.stages.words", None)


@pytest.mark.parametrize(
    "name",
    [  # whole flows run the mechanical ones of the shipped loop anyway
        pytest.param(name, marks=pytest.mark.slow if name in ("checks", "sanity") else ())
        for name in stage_types.names()
    ],
)
def test_every_stage_type_keeps_the_contract(name: str, sandbox: Sandbox):
    stage_contract.keep(name, sandbox)


def test_the_page_of_the_loops_has_the_table_of_the_stage_types():
    """To see the table: python -c 'from tests.contract.stage_contract import table; print(table())'."""
    page = Path(__file__).parents[2] / "docs/loops.md"
    assert stage_contract.table() in page.read_text("utf-8")


def test_a_new_stage_type_is_listed_at_once(drop):
    drop(WORDS)
    assert "| `words` | gitmill | Words that no change may add. |" in stage_contract.table()
    lines = "\n".join(explain.lines_of("stage"))
    assert "words      Words that no change may add.\n           keys: attempts, on, words" in lines


def test_one_file_is_a_stage_type_that_keeps_the_contract(drop, sandbox: Sandbox):
    drop(WORDS)
    assert stage_types.names() == ("agent", "checks", "person", "sanity", "words")
    assert stage_contract.keep("words", sandbox).status is Status.APPROVED


def test_a_new_stage_type_returns_work_and_the_next_build_begins_a_round(drop, sandbox: Sandbox):
    drop(WORDS)
    script = 'test "$GITMILL_ATTEMPT" = 2 && echo plain > made.txt || echo gaudy > made.txt'
    mill, item = stage_contract.worked(sandbox, stage_contract.stage_file("words"), script)
    assert (item.status, item.count("returns")) == (Status.APPROVED, 1)
    log = next(iter(mill.snapshot().run_logs(item.id)))
    assert "made.txt: it has gaudy" in log.text
    assert fsck(mill).report.faults == []


BROKEN = {
    "a verdict that it does not declare": (
        PASS, 'return Verdict(VerdictWord.IMPOSSIBLE, "no")', "gave"
    ),
    "a mechanical stage that changes the work": (
        PASS, f"state.work = state.base\n    {PASS}", "changed the work"
    ),
    "a pass without the evidence that it demands itself": (
        "settings=Settings,", "settings=Settings, missing=lambda *_: ['proof'],", "missing-check"
    ),
    "a gate that passes itself": (
        "Performer.GITMILL,\n", "Performer.PERSON,\n", "passed without a person"
    ),
    "a key that stages share": ("words: tuple", "idle: tuple", "takes the key idle"),
    "a key without an example": (' = Field(examples=["[gaudy, garish]"])', "", "no example"),
    "no verdict to pass with": ("verdicts=(VerdictWord.PASS, ", "verdicts=(", "never pass"),
}  # fmt: skip


QUICK = ("a verdict that it does not declare", "a key that stages share")


@pytest.mark.parametrize(
    "what",
    [pytest.param(what, marks=() if what in QUICK else pytest.mark.slow) for what in BROKEN],
)
def test_a_broken_stage_type_fails_the_contract(drop, sandbox: Sandbox, what: str):
    old, new, why = BROKEN[what]
    assert old in WORDS
    drop(WORDS.replace(old, new).replace('{"attempts"}', '{"attempts", "when"}'))
    with pytest.raises(AssertionError, match=why):
        stage_contract.keep("words", sandbox)


@pytest.mark.parametrize("member", ["TYPE = ", "def run("])
def test_a_stage_type_that_lacks_a_member_is_refused(drop, member: str):
    drop(WORDS.replace(member, {"TYPE = ": "KIND = ", "def run(": "def walk("}[member]))
    with pytest.raises(CannotCompileError, match="stage type words does not define"):
        stage_types.all_types()


def test_an_item_whose_plan_has_a_type_of_a_newer_gitmill_is_not_claimed(drop, sandbox: Sandbox):
    dropped = drop(WORDS)
    stage = stage_contract.stage_file("words").replace("extra", "words")
    files = {".gitmill/loops/deliver/25-extra.md": stage, "a.txt": "a\n"}
    mill = Mill.open(sandbox.repo(files=files).path)
    init(mill)
    task = NewTask(title="Make it", script="false", criteria=["$ true"])
    item = new_task(mill, task, ready=True)
    from gitmill.attempts.attempt import run_stages
    from gitmill.core.pipeline import group

    state = claim(mill, item.id)
    run_stages(mill, state, group(state.plan, "build"), lambda _: None, StopToken())
    before = mill.snapshot()
    assert before.item(item.id).status is Status.READY
    dropped.unlink()
    sys.modules.pop("gitmill.attempts.stages.words")
    with pytest.raises(CannotCompileError, match="there is no stage type words"):
        claim(mill, item.id)
    assert mill.snapshot().commit == before.commit


def test_fsck_does_not_accept_a_pass_of_a_type_that_it_does_not_know(drop, sandbox: Sandbox):
    dropped = drop(WORDS)
    stage = stage_contract.stage_file("words")
    mill, _ = stage_contract.worked(sandbox, stage, stage_contract.SCRIPT)
    assert fsck(mill).report.faults == []
    dropped.unlink()
    sys.modules.pop("gitmill.attempts.stages.words")
    (fault,) = fsck(mill, again=True).report.faults
    assert fault.rule == "missing-check"
    assert fault.what == "this gitmill cannot verify a pass of the type words"
