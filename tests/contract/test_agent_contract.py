"""Every agent keeps the contract; a file that is dropped in is an agent, and a broken one fails."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gitmill.agents
from gitmill.agents import _cli, base
from gitmill.config import Policy
from gitmill.core.plans.compile import found_agents
from gitmill.core.plans.mode import choose_mode
from gitmill.errors import AgentMissingError
from gitmill.plans.frozen import facts
from gitmill.plans.loops import shipped_modes
from gitmill.workspace import private_paths
from tests.contract import agent_contract
from tests.contract.agent_contract import CLAUSES, Scene
from tests.contract.samples import parrot

PARROT = Path(parrot.__file__).read_text("utf-8")
Drop = Callable[[str], None]


@pytest.fixture
def scene(tmp_path: Path) -> Callable[[str], Scene]:
    def make(name: str) -> Scene:
        folder = tmp_path / "scene"
        folder.mkdir(exist_ok=True)
        return Scene(name, folder)

    return make


@pytest.fixture
def drop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drop]:
    """Write the text of a new agent, `parrot`, where gitmill looks for agents."""

    def write(text: str) -> None:
        folder = tmp_path / "dropped"
        folder.mkdir()
        (folder / "parrot.py").write_text(text)
        path = [*gitmill.agents.__path__, str(folder)]
        monkeypatch.setattr(gitmill.agents, "__path__", path)
        importlib.invalidate_caches()
        _cli._declared.cache_clear()

    yield write
    sys.modules.pop("gitmill.agents.parrot", None)
    _cli._declared.cache_clear()


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize(
    "name",
    [  # `claude` stands for them by default
        pytest.param(
            name, marks=pytest.mark.slow if name in ("codex", "gemini", "opencode") else ()
        )
        for name in base.names()
    ],
)
def test_every_agent_keeps_the_contract(scene, name: str, clause: Callable[[Scene], None]):
    clause(scene(name))


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
def test_one_file_is_an_agent_that_keeps_the_contract(drop: Drop, scene, clause):
    drop(PARROT)
    clause(scene("parrot"))


def test_modes_prices_and_the_sandbox_find_a_new_agent_by_what_it_declares(
    drop: Drop, sealed: Path
):
    (sealed / ".parrot").touch()
    assert sealed / ".parrot" not in [*private_paths.paths()]
    drop(PARROT)
    assert "parrot" in base.names()
    mode = choose_mode(shipped_modes(), Policy(), name="standard")
    roles = found_agents(mode, facts(Policy())).roles
    assert roles["builder"] == ("claude", "codex", "gemini", "opencode", "parrot")
    assert roles["reviewer"] == ("codex", "claude", "gemini", "opencode", "parrot")
    assert _cli.price("grey", base.Usage(1_000_000, 0, 0), {}) == pytest.approx(1)
    assert sealed / ".parrot" in [*private_paths.paths()]


RESULT = "    return converse(attempt, execute, begin)\n"
HELD = "    from dataclasses import replace\n    held = converse(attempt, execute, begin)\n"
BROKEN = {
    "a time-out is reported as completed": (
        RESULT,
        f"{HELD}    late = held.exit is ExitKind.TIMED_OUT\n"
        "    return replace(held, exit=ExitKind.COMPLETED) if late else held\n",
        agent_contract.ends_in_time,
    ),
    "a cancel is reported as a crash": (
        RESULT,
        f"{HELD}    stopped = held.exit is ExitKind.CANCELLED\n"
        "    return replace(held, exit=ExitKind.CRASHED) if stopped else held\n",
        agent_contract.is_cancelled,
    ),
    "a missing program is reported as a crash": (
        RESULT,
        f"{HELD}    away = held.exit is ExitKind.UNAVAILABLE\n"
        "    return replace(held, exit=ExitKind.CRASHED) if away else held\n",
        agent_contract.is_missing,
    ),
    "the exit status is ignored": (
        'outcome.passed and "text" in self.seen', '"text" in self.seen', agent_contract.crashes,
    ),
    "any answer is a pass": (
        RESULT,
        f"{HELD}    from gitmill.core.verdict import Verdict, VerdictWord\n"
        "    good = held.exit is ExitKind.GARBLED\n"
        "    passed = replace(held, verdict=Verdict(VerdictWord.PASS))\n"
        "    return replace(passed, exit=ExitKind.COMPLETED) if good else held\n",
        agent_contract.needs_a_verdict,
    ),
    "the usage is dropped": (
        "usage=self.usage,", "usage=UNKNOWN_USAGE,", agent_contract.completes,
    ),
    "cached tokens are not counted": (
        'Usage(**event["usage"])', "Usage(900, 50, 100)", agent_contract.completes,
    ),
    "the prompt is an argument": (
        "(*program, *resumed)", '(*program, "-p", prompt, *resumed)', agent_contract.completes,
    ),
    "an unknown cost is 0": (
        "cost=self.cost,", "cost=self.cost or 0.0,", agent_contract.reports_what_is_known,
    ),
    "the budget is not asked": (
        "self.usage, self.cost = Usage", "self.spent, self.cost = Usage",
        agent_contract.stops_over_budget,
    ),
    "the session is not resumed": (
        '("--resume", session) if session else ()', "()", agent_contract.resumes,
    ),
    "denied actions are dropped": (
        '(self.seen["denied"],) if', "() if", agent_contract.reports_denials,
    ),
    "it can sign in and has no login": ('SIGN_IN = ""', 'SIGN_IN = "x"', agent_contract.declares),
}  # fmt: skip


QUICK = (
    "a time-out is reported as completed",
    "the exit status is ignored",
    "the usage is dropped",
    "the session is not resumed",
    "denied actions are dropped",
    "it can sign in and has no login",
)


@pytest.mark.parametrize(
    "what",
    [pytest.param(what, marks=() if what in QUICK else pytest.mark.slow) for what in BROKEN],
)
def test_a_broken_agent_fails_the_clause_that_it_breaks(drop: Drop, scene, what: str):
    old, new, clause = BROKEN[what]
    assert PARROT.count(old) == 1
    drop(PARROT.replace(old, new))
    with pytest.raises(AssertionError):
        clause(scene("parrot"))


@pytest.mark.parametrize("member", ["run", "probe", "ROLES", "PRICES", "EXAMPLE"])
def test_an_agent_that_lacks_a_member_is_refused(drop: Drop, member: str):
    text = PARROT.replace(f"\ndef {member}(", "\ndef other(").replace(f"\n{member} = ", "\nX = ")
    assert text != PARROT
    drop(text)
    with pytest.raises(AgentMissingError, match=f"agent parrot does not define {member}"):
        base.load("parrot")
