"""Loops of a project: stages added and replaced, verdicts that lead elsewhere, any program."""

from __future__ import annotations

import sys

import pytest

from tests.support.cast import PASS, Cast
from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox


def stages(repo: Repo, task: str) -> list[str]:
    shown = gitmill(repo.path, "task", "show", task, "--json").json
    return [f"{a['stage']} {a['verdict']}" for a in shown["attempts"]]


@pytest.fixture
def cast(sandbox: Sandbox) -> Cast:
    return Cast(sandbox, {}, {"builder": "coder", "reviewer": "judge"})


def test_any_program_builds_is_returned_and_fixes(cast: Cast):
    cast.plays("coder", PASS | {"write": {"a.txt": "1\n"}, "summary": "Wrote 1."},
               PASS | {"write": {"a.txt": "2\n"}, "summary": "Wrote 2."})  # fmt: skip
    cast.plays(
        "judge",
        {
            "verdict": "return",
            "summary": "not 1",
            "findings": [{"message": "write 2", "file": "a.txt"}],
        },
        PASS,
    )
    task = new_task(cast.repo.path, "Numbers", "", "--criterion", "Is it a good number?")
    said = gitmill(cast.repo.path, "run")
    assert said.code == 0, said.err
    assert stages(cast.repo, task) == ["build pass", "review return", "build pass", "review pass"]
    assert "write 2" in cast.prompt("coder", 1)
    assert "write 2" not in cast.prompt("coder", 0)
    assert "+1" in cast.prompt("judge", 0)
    assert "+2" in cast.prompt("judge", 1)
    message = cast.repo.git("log", "-1", "--format=%B", "main")
    assert message.startswith("Numbers\n\nWrote 2.\n")
    assert "Co-authored-by: coder (gitmill agent) <coder@agents.gitmill.invalid>" in message
    # All work at the path of the checkout, so that sessions can be resumed.
    assert {*cast.calls("coder"), *cast.calls("judge")} == {str(cast.repo.path)}


def test_what_a_reviewer_writes_is_thrown_away(cast: Cast):
    cast.repo.unfence()
    cast.plays("coder", PASS | {"write": {"a.txt": "1\n"}})
    cast.plays("judge", PASS | {"write": {"a.txt": "mine\n", "new.txt": "mine\n"}})
    new_task(cast.repo.path, "Numbers", "")
    assert gitmill(cast.repo.path, "run").code == 0
    assert cast.repo.git("show", "main:a.txt") == "1"
    assert "new.txt" not in cast.repo.git("ls-tree", "--name-only", "main")


def test_a_reviewer_is_refused_what_it_would_write_and_the_run_log_says_so(cast: Cast):
    cast.plays("coder", PASS | {"write": {"a.txt": "1\n"}})
    cast.plays("judge", PASS | {"write": {"a.txt": "mine\n"}})
    task = new_task(cast.repo.path, "Numbers", "")
    assert gitmill(cast.repo.path, "run").code == 1
    log = cast.repo.git("show", f"gitmill/state:runs/{task[2:4]}/{task}/002-review.md")
    assert "the sandbox refused: OSError: [Errno 30] Read-only file system: 'a.txt'" in log
    assert 'sandbox: "bubblewrap"' in log


def test_a_reviewer_reads_a_shared_folder_and_is_not_sent_to_a_set_up(cast: Cast):
    """Its worktree is read-only, so the place where the folder is shown must be there before."""
    cast.repo.commit({".gitignore": "node_modules/\n", "package.json": "{}\n"})
    (cast.repo.path / "node_modules").mkdir()
    (cast.repo.path / "node_modules/dep.js").write_text("1\n")
    cast.plays("coder", PASS | {"write": {"a.txt": "1\n"}})
    cast.plays("judge", PASS | {"write": {"node_modules/dep.js": "2\n"}})
    task = new_task(cast.repo.path, "Numbers", "")
    assert gitmill(cast.repo.path, "run").code == 1
    log = cast.repo.git("show", f"gitmill/state:runs/{task[2:4]}/{task}/002-review.md")
    assert "Read-only file system: 'node_modules/dep.js'" in log
    assert "is shared with the checkout" not in log


def test_a_reviewer_without_a_readable_verdict_never_passes(cast: Cast):
    cast.plays("coder", PASS | {"write": {"a.txt": "1\n"}})
    cast.plays("judge", {"said": "I passed all tests"})
    task = new_task(cast.repo.path, "Numbers", "")
    assert gitmill(cast.repo.path, "run").code == 1
    assert stages(cast.repo, task) == ["build pass"] + ["review fail"] * 3


def test_a_question_waits_and_the_answer_is_in_the_next_prompt(cast: Cast):
    cast.plays("coder", {"verdict": "ask", "summary": "Which number?"},
               PASS | {"write": {"a.txt": "7\n"}})  # fmt: skip
    cast.plays("judge", PASS)
    task = new_task(cast.repo.path, "Numbers", "")
    said = gitmill(cast.repo.path, "run")
    assert said.code == 3
    assert '"Which number?"' in said.err
    assert gitmill(cast.repo.path, "task", "answer", task, "-m", "take seven").code == 0
    assert gitmill(cast.repo.path, "run").code == 0
    assert "take seven" in cast.prompt("coder", 1)


def test_a_builder_whose_fail_cannot_be_read_has_not_passed(cast: Cast):
    step = PASS | {"write": {"a.txt": "1\n"}, "news": ['{"verdict": "fail", "summary": "no",}']}
    cast.plays("coder", {key: step[key] for key in ("write", "news")} | {"exit": 0})
    cast.plays("judge", PASS)
    task = new_task(cast.repo.path, "Numbers", "")
    assert gitmill(cast.repo.path, "run").code == 1
    assert stages(cast.repo, task) == ["build fail"] * 3
    log = cast.repo.git("show", f"gitmill/state:runs/{task[2:4]}/{task}/001-build.md")
    assert 'exit: "garbled"' in log


@pytest.mark.parametrize("stage", ["review", pytest.param("build", marks=pytest.mark.slow)])
def test_a_pass_with_a_high_finding_asks_a_person(cast: Cast, stage: str):
    finding = {"message": "it deletes data", "severity": "high"}
    grave = PASS | {"findings": [finding]}
    build = PASS | {"write": {"a.txt": "1\n"}}
    cast.plays("coder", build | (grave if stage == "build" else {}))
    cast.plays("judge", grave if stage == "review" else PASS)
    task = new_task(cast.repo.path, "Numbers", "")
    assert gitmill(cast.repo.path, "run").code == 3
    shown = gitmill(cast.repo.path, "task", "show", task, "--json").json["item"]
    assert (shown["status"], shown["stage"]) == ("waiting", stage)
    assert shown["reason"] == "it passes with a high finding: it deletes data"
    assert gitmill(cast.repo.path, "task", "approve", task).code == 0
    assert gitmill(cast.repo.path, "run").code == 0
    assert cast.repo.git("show", "main:a.txt") == "1"


@pytest.mark.slow
def test_an_endless_disagreement_is_bounded(cast: Cast):
    cast.plays("coder", *[PASS | {"write": {"a.txt": f"{n}\n"}} for n in range(30)])
    cast.plays("judge", {"verdict": "return", "summary": "no"})
    task = new_task(cast.repo.path, "Never", "")
    assert gitmill(cast.repo.path, "run").code == 1
    shown = gitmill(cast.repo.path, "task", "show", task, "--json").json["item"]
    assert shown["status"] == "blocked"
    assert shown["reason"] == "it was returned more than 6 times: no"
    assert len(cast.calls("judge")) == 7


def test_an_agent_that_is_missing_costs_no_attempt(cast: Cast):
    cast.plays("judge", PASS)
    config = cast.repo.path / ".gitmill/config.toml"
    cast.repo.commit({".gitmill/config.toml": config.read_text().replace(sys.executable, "/no/x")})
    task = new_task(cast.repo.path, "Outage", "")
    other = new_task(cast.repo.path, "The same", "")
    assert gitmill(cast.repo.path, "run").plain() == (
        1,
        "",
        "error[agent-not-found]: build needs the agent coder, which is not installed\n"
        "    coder      there is no /no/x on PATH\n"
        "hint: see what is installed with `gitmill agent list`\n"
        "hint: name another agent for its role in `[modes.NAME] roles` of .gitmill/config.toml\n",
    )
    for name in (task, other):
        shown = gitmill(cast.repo.path, "task", "show", name, "--json").json
        assert (shown["item"]["status"], shown["item"].get("counters", {})) == ("ready", {})
        assert shown["attempts"] == []


STAGE = "---\ntype: agent\nrole: {role}\npermission: {permission}\n{more}---\n{prompt}\n"


@pytest.mark.slow
def test_a_stage_is_added_and_verdicts_lead_where_its_file_says(sandbox: Sandbox):
    loop = {
        "10-build.md": STAGE.format(
            role="builder", permission="workspace", prompt="Build.",
            more="attempts: 2\non: {fail: troubleshoot, impossible: blocked}\n",
        ),
        "45-security.md": STAGE.format(
            role="auditor", permission="read-only", prompt="Audit. {{ diff }}",
            more="on: {return: build}\n",
        ),
        "80-troubleshoot.md": STAGE.format(
            role="fixer", permission="workspace", prompt="Mend it.",
            more="attempts: 2\non: {pass: build, fail: blocked}\n",
        ),
    }  # fmt: skip
    roles = {"builder": "coder", "reviewer": "judge", "auditor": "audit", "fixer": "fix"}
    cast = Cast(sandbox, loop, roles)
    cast.plays("coder", {"verdict": "fail", "summary": "stuck"}, PASS | {"write": {"a.txt": "1\n"}})
    cast.plays("fix", PASS | {"write": {"b.txt": "help\n"}})
    cast.plays("judge", PASS)
    cast.plays("audit", {"verdict": "return", "summary": "unsafe"}, PASS)
    assert gitmill(cast.repo.path, "loop", "check").code == 0
    task = new_task(cast.repo.path, "Long way", "")
    said = gitmill(cast.repo.path, "run")
    assert said.code == 0, said.err
    assert stages(cast.repo, task) == [
        "build fail", "troubleshoot pass", "build pass", "review pass", "security return",
        "build pass", "review pass", "security pass",
    ]  # fmt: skip
    assert cast.repo.git("show", "main:b.txt") == "help"


@pytest.mark.slow
def test_two_approvals_are_two_sessions_without_a_new_build(sandbox: Sandbox):
    loop = {
        "40-review.md": STAGE.format(
            role="reviewer", permission="read-only", prompt="Review.",
            more="approvals: 2\non: {return: build}\n",
        )
    }  # fmt: skip
    cast = Cast(sandbox, loop, {"builder": "coder", "reviewer": "judge"})
    cast.plays("coder", PASS | {"write": {"a.txt": "1\n"}})
    cast.plays("judge", PASS)
    task = new_task(cast.repo.path, "Twice", "")
    assert gitmill(cast.repo.path, "run").code == 0
    assert stages(cast.repo, task) == ["build pass", "review pass", "review pass"]
    assert len(cast.calls("coder")) == 1
    assert cast.repo.git("notes", "--ref=gitmill", "show", "main").count('"run": ') == 2


@pytest.mark.slow
def test_items_in_flight_keep_their_plan_when_the_loop_changes(cast: Cast):
    cast.plays("coder", PASS | {"write": {"a.txt": "1\n"}})
    cast.plays("judge", {"verdict": "ask", "summary": "?"}, PASS)
    task = new_task(cast.repo.path, "Old plan", "")
    assert gitmill(cast.repo.path, "run").code == 3
    before = gitmill(cast.repo.path, "task", "show", task, "--json").json["item"]["plan"]
    extra = STAGE.format(
        role="reviewer", permission="read-only", prompt="More.", more="on: {return: build}\n"
    )
    cast.repo.commit({".gitmill/loops/deliver/42-more.md": extra})
    assert gitmill(cast.repo.path, "task", "answer", task, "-m", "yes").code == 0
    assert gitmill(cast.repo.path, "run").code == 0
    assert gitmill(cast.repo.path, "task", "show", task, "--json").json["item"]["plan"] == before
    assert len(cast.calls("judge")) == 2
    other = new_task(cast.repo.path, "New plan", "")
    cast.plays("coder", PASS | {"write": {"a.txt": "2\n"}})
    assert gitmill(cast.repo.path, "run").code == 0
    assert stages(cast.repo, other) == ["build pass", "review pass", "more pass"]


def test_prompts_go_by_standard_input_and_not_by_the_command_line(cast: Cast):
    cast.plays("coder", PASS | {"write": {"a.txt": "1\n"}})
    cast.plays("judge", PASS)
    body = "x" * 200_000
    said = gitmill(cast.repo.path, "task", "new", "Big", "--body", "-", "--ready", stdin=body)
    assert said.code == 0
    assert gitmill(cast.repo.path, "run").code == 0
    assert body in cast.prompt("coder", 0)
    # With `--run-hints` it is called in a copy of the repository as well.
    assert str(cast.repo.path) in cast.calls("coder")
    assert not any("xxx" in call for call in cast.calls("coder"))
