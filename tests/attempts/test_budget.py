"""Code enforces budgets: an attempt starts within its budget, and ends when it exceeds it."""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gitmill.attempts.budget import spent_on, spent_today
from gitmill.core.budget_rules import NOTHING, Spent
from gitmill.mill import Mill
from tests.supervision.processes import running
from tests.support.cast import PASS, Cast
from tests.support.cli import gitmill, new_task
from tests.support.repos import Sandbox
from tests.support.seeds import rest_slow

USED = {"usage": {"input": 900, "output": 100}, "cost": 0.25}
WRITES = [{"write": {"a.txt": f"{n}\n"}} for n in range(9)]
RETURN = {"verdict": "return", "summary": "again"}


def cast(sandbox: Sandbox, policy: str) -> Cast:
    made = Cast(sandbox, {}, {"builder": "coder", "reviewer": "judge"}, policy)
    made.plays("coder", *[PASS | {"news": [USED]} | write for write in WRITES])
    made.plays("judge", RETURN)
    return made


def shown(cast: Cast, task: str) -> dict:
    return gitmill(cast.repo.path, "task", "show", task, "--json").json


@pytest.mark.parametrize(
    ("bound", "reason"),
    rest_slow([
        ("tokens = 1500", "2,000 of 1,500 tokens and 1 attempt of unknown cost"),
        ("cost = 0.5", "$0.50 of $0.50 and 1 attempt of unknown cost"),
        ("attempts = 4", "4 of 4 attempts"),
    ], 1, rows=True),
)  # fmt: skip
def test_an_item_whose_budget_is_used_up_is_blocked(sandbox: Sandbox, bound: str, reason: str):
    """Builder and judge take turns; the judge reports no cost."""
    made = cast(sandbox, f"[budget.item]\n{bound}\n")
    task = new_task(made.repo.path, "One", "")
    result = gitmill(made.repo.path, "run")
    assert result.code == 1
    item = shown(made, task)["item"]
    assert (item["status"], item["reason"]) == ("blocked", f"its budget is used up: {reason}")
    assert len(made.calls("coder")) == 2
    assert f"  {item['reason']}" in gitmill(made.repo.path, "status").out


@pytest.mark.slow
def test_retry_gives_an_item_a_new_budget_and_unblock_does_not(sandbox: Sandbox):
    made = cast(sandbox, "[budget.item]\nattempts = 2\n")
    task = new_task(made.repo.path, "One", "")
    assert gitmill(made.repo.path, "run").code == 1
    assert gitmill(made.repo.path, "task", "unblock", task).code == 0
    assert gitmill(made.repo.path, "run").code == 1
    assert len(made.calls("coder")) == 1
    made.plays("judge", PASS)
    assert gitmill(made.repo.path, "task", "retry", task).code == 0
    assert shown(made, task)["item"]["budget_after"] == 2
    assert gitmill(made.repo.path, "run").code == 0
    mill = Mill.open(made.repo.path)
    snapshot = mill.snapshot()
    assert spent_on(snapshot, snapshot.item(task)).attempts == 2, "of four, two count"
    assert spent_today(mill, snapshot).attempts == 4


@pytest.mark.parametrize(
    ("policy", "news", "problem"),
    [
        ("[budget.attempt]\ntokens = 999\n", USED, "the budget of the attempt: 1,000 of 999 tokens"),
        ("[budget.attempt]\ncost = 0.2\n", USED, "the budget of the attempt: $0.25 of $0.20"),
        ("[budget.item]\ntokens = 999\n", USED, "the budget of the item: 1,000 of 999 tokens"),
        ("[budget.day]\ncost = 0.2\n", USED, "the budget of the day: $0.25 of $0.20"),
        ("[budget.attempt]\ntime = '1s'\n", {"progress": "x"}, "the time budget is used up: N s of the remaining 1 s"),
    ],
)  # fmt: skip
def test_an_attempt_that_exceeds_a_budget_is_ended(sandbox: Sandbox, policy, news, problem):
    made = cast(sandbox, f"[limits]\nattempts = 1\n{policy}")
    made.plays("coder", PASS | {"news": [news], "sleep": 60})
    task = new_task(made.repo.path, "One", "")
    result = gitmill(made.repo.path, "run")
    assert result.code in (1, 4), result.err
    [attempt] = shown(made, task)["attempts"][:1]
    assert (attempt["exit"], attempt["verdict"]) == ("over-budget", "fail")
    assert re.sub(r"\b\d s of", "N s of", attempt["problem"]) == problem
    assert attempt["seconds"] < 30
    if "cost" in news:
        assert attempt["usage"] == {"input": 900, "output": 100}
        assert attempt["cost"] == 0.25


def test_work_waits_while_the_budget_of_the_day_is_used_up_and_status_shows_it(sandbox: Sandbox):
    made = cast(sandbox, "[budget.day]\ntokens = 1000\nattempts = 50\n")
    made.plays("judge", PASS)
    for title in ("One", "Two"):
        new_task(made.repo.path, title, "")
    result = gitmill(made.repo.path, "run")
    assert result.code == 4
    assert result.err.partition("error")[2] == (
        "[day-budget]: the budget of the day is used up: 1,000 of 1,000 tokens\n"
        "hint: continue after midnight UTC with `gitmill run`\n"
        "hint: or commit a larger `[budget.day]` to .gitmill/config.toml\n"
        "next: `gitmill status`\n"
    )
    for _ in range(2):
        assert "budget today: 1,000 of 1,000 tokens, 1 of 50 attempts\n" in (
            gitmill(made.repo.path, "status").out
        )
    budget = gitmill(made.repo.path, "status", "--json").json["budget"]
    assert (budget["used_up"], budget["spent"]["cost"]) == ("1,000 of 1,000 tokens", 0.25)
    assert gitmill(made.repo.path, "run").code == 4
    larger = Path(made.repo.path / ".gitmill/config.toml").read_text().replace("= 1000", "= 9000")
    made.repo.commit({".gitmill/config.toml": larger})
    assert gitmill(made.repo.path, "run").code == 0


@pytest.mark.slow
def test_the_sum_of_a_day_is_the_same_with_and_without_the_stored_one(sandbox: Sandbox):
    made = cast(sandbox, "")
    made.plays("judge", RETURN, PASS)
    new_task(made.repo.path, "One", "")
    mill = Mill.open(made.repo.path)
    before = spent_today(mill, mill.snapshot())
    assert before == NOTHING
    assert gitmill(made.repo.path, "run").code == 0
    assert spent_today(mill, mill.snapshot()).attempts == 4
    made.plays("judge", PASS)
    new_task(made.repo.path, "Two", "")
    assert gitmill(made.repo.path, "run").code == 0
    grown = spent_today(mill, mill.snapshot())
    (made.repo.git_dir / "gitmill/spent.json").unlink()
    whole = spent_today(mill, mill.snapshot())
    assert grown == whole
    assert (whole.tokens, whole.attempts, whole.unpriced, whole.untold) == (3000, 6, 3, 3)
    assert spent_today(mill, mill.snapshot()) == whole
    tomorrow = Mill(mill.repository, clock=lambda: datetime.now(UTC) + timedelta(days=1))
    assert spent_today(tomorrow, tomorrow.snapshot()) == NOTHING
    for broken in ("", "{", "[]", '{"day": 1}'):
        (made.repo.git_dir / "gitmill/spent.json").write_text(broken)
        assert spent_today(mill, mill.snapshot()) == whole


def test_agents_without_a_model_cost_nothing_and_that_is_known(sandbox: Sandbox):
    repo = sandbox.repo()
    gitmill(repo.path, "init")
    task = new_task(repo.path, "One", "echo x > x.txt")
    assert gitmill(repo.path, "run").code == 0
    mill = Mill.open(repo.path)
    spent = spent_on(mill.snapshot(), mill.snapshot().item(task))
    assert (spent.attempts, spent.cost, spent.unpriced) == (2, 0, 0)
    assert spent.seconds > 0
    assert isinstance(spent, Spent)


def test_stats_add_everything_up(sandbox: Sandbox):
    made = cast(sandbox, "[budget.day]\ncost = 9\n")
    made.plays("judge", RETURN, PASS)
    new_task(made.repo.path, "One", "")
    assert gitmill(made.repo.path, "run").code == 0
    out = re.sub(r"  +", "  ", gitmill(made.repo.path, "stats").out)  # widths follow the times
    out = re.sub(r"\b\d[\dhm.]*s\b", "TIME", out)
    assert out == (
        "landed 1\n"
        "lead time  median TIME  90% within TIME  (1 landed)\n"
        "\n"
        "stage  agent  passed  returned  failed  other  released  time  tokens  cost\n"
        "build  coder  2  TIME  2,000  $0.50\n"
        "review  judge  1  1  TIME  unknown\n"
        "total  TIME  2,000  $0.50 + 2 unknown\n"
        "budget today: $0.50 of $9.00 and 2 attempts of unknown cost\n"
    )
    stats = gitmill(made.repo.path, "stats", "--json").json
    assert stats["total"]["tokens"] == 2000
    assert stats["lead_time"]["count"] == 1
    assert [(row["stage"], row["agent"], row["verdicts"]) for row in stats["rows"]] == [
        ("build", "coder", {"pass": 2}), ("review", "judge", {"return": 1, "pass": 1}),
    ]  # fmt: skip


def test_stats_of_nothing(sandbox: Sandbox):
    repo = sandbox.repo()
    gitmill(repo.path, "init")
    assert gitmill(repo.path, "stats").plain() == (0, "no items yet\n", "")


def test_processes_of_an_agent_end_with_it_even_in_a_session_of_their_own(sandbox: Sandbox):
    """The budget ends it; it reports success, and leaves a process behind."""
    token = f"token-{os.urandom(8).hex()}"
    agent = sandbox.root / "agent.py"
    agent.write_text(
        "import json, os, signal, subprocess, sys, time\n"
        f"argv = [sys.executable, '-c', 'import time; time.sleep(300)', {token!r}]\n"
        "subprocess.Popen(argv, start_new_session=True, env={})\n"
        "def bye(*_):\n    print(json.dumps({'verdict': 'pass', 'summary': 's'}), flush=True)\n"
        "    os._exit(0)\n"
        "signal.signal(signal.SIGINT, bye)\n"
        "print(json.dumps({'cost': 9}), flush=True)\n"
        "time.sleep(300)\n"
    )
    lines = ['mode = "ours"', "[modes.ours]", 'roles = {builder = "b", reviewer = "rules"}',
             "[agents.b]", f"command = {json.dumps([sys.executable, str(agent)])}",
             "[budget.attempt]", "cost = 1", "[limits]", "attempts = 1"]  # fmt: skip
    repo = sandbox.repo(files={".gitmill/config.toml": "\n".join(lines) + "\n"})
    gitmill(repo.path, "init")
    task = new_task(repo.path, "One", "")
    assert gitmill(repo.path, "run").code == 1
    [attempt] = gitmill(repo.path, "task", "show", task, "--json").json["attempts"]
    assert (attempt["exit"], attempt["verdict"]) == ("over-budget", "fail")
    assert running(token) == []
