"""An outage costs no attempt: the agent cools down, others and other items go on."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.support.cast import PASS, Cast
from tests.support.cli import gitmill, new_task
from tests.support.repos import Sandbox

LIMIT = {"exit": 75, "error": "429 too many requests"}
BUILDS = PASS | {"write": {"a.txt": "b\n"}}
SHORT = '[limits]\nwait = "1s"\n'


def when(text: str) -> str:
    return re.sub(r"(WHEN|(\d{4}-\d\d-\d\d )?\d\d:\d\d) UTC", "THEN", text)


def fixture(roles: dict, policy: str = SHORT):
    @pytest.fixture
    def cast(sandbox: Sandbox) -> Cast:
        made = Cast(sandbox, {}, {"reviewer": "judge"} | roles, policy)
        made.plays("judge", PASS)
        return made

    return cast


cast = fixture({"builder": "coder"})
two = fixture({"builder": ["coder", "spare"]})


def test_a_limit_costs_no_attempt_and_the_screens_show_its_end(cast: Cast):
    cast.plays("coder", LIMIT | {"news": [{"retry_after": 3600}]}, BUILDS)
    tasks = [new_task(cast.repo.path, title, "") for title in ("One", "Two")]
    code, out, err = gitmill(cast.repo.path, "run").plain()
    assert (code, out) == (4, "")
    assert when(err) == (
        'T1  build ..................... rate-limited coder TIME   "the agent did not finish, rate-limited: 429 too many requests"\n'
        "ready T1 (1 attempt)\n"
        "error[agent-cools]: build waits for coder, which is cooling down until THEN\n"
        "    coder      rate-limited, until THEN: 429 too many requests\n"
        "hint: continue then with `gitmill run`\n"
        "hint: name another agent for its role in `[modes.NAME] roles` of .gitmill/config.toml\n"
        "next: `gitmill status`\n"
    )
    for task in tasks:
        item = gitmill(cast.repo.path, "task", "show", task, "--json").json["item"]
        assert (item["status"], item.get("counters", {})) == ("ready", {})
    assert len(cast.calls("coder")) == 1
    again = gitmill(cast.repo.path, "run")
    assert (again.code, again.out) == (4, "")
    assert again.err.startswith("error[agent-cools]: build waits for coder")
    assert len(cast.calls("coder")) == 1


def test_status_and_agent_list_show_cooling_agents_and_the_reason(cast: Cast):
    cast.plays("coder", LIMIT | {"news": [{"retry_after": 3600}]})
    new_task(cast.repo.path, "One", "")
    gitmill(cast.repo.path, "run")
    for _ in range(2):  # the second is answered from the kept board
        result = gitmill(cast.repo.path, "status")
        assert when(result.out).splitlines()[1] == (
            "coder cools down: rate-limited, until THEN: 429 too many requests"
        )
    [entry] = gitmill(cast.repo.path, "status", "--json").json["cooling"]
    assert (entry["agent"], entry["exit"], entry["why"]) == (
        "coder", "rate-limited", "429 too many requests",
    )  # fmt: skip
    listed = gitmill(cast.repo.path, "agent", "list")
    assert "coder      cools down: rate-limited, until THEN: 429" in when(listed.out)


def test_the_next_agent_of_the_role_takes_over_at_once(two: Cast):
    two.plays("coder", LIMIT)
    two.plays("spare", BUILDS)
    task = new_task(two.repo.path, "One", "")
    result = gitmill(two.repo.path, "run")
    assert result.code == 0, result.err
    shown = gitmill(two.repo.path, "task", "show", task, "--json").json
    assert [(a["stage"], a["agent"], a["exit"]) for a in shown["attempts"]] == [
        ("build", "coder", "rate-limited"), ("build", "spare", "completed"),
        ("review", "judge", "completed"),
    ]  # fmt: skip
    assert shown["item"]["status"] == "landed"
    assert shown["item"]["builder"] == "spare"


def test_an_agent_that_is_not_installed_is_skipped(sandbox: Sandbox):
    cast = Cast(sandbox, {}, {"builder": ["nobody", "coder"], "reviewer": "judge"})
    config = cast.repo.path / ".gitmill/config.toml"
    text = re.sub(r'(\[agents\.nobody\]\ncommand = \[)"[^"]+"', r'\1"/no/x"', config.read_text())
    cast.repo.commit({".gitmill/config.toml": text})
    cast.plays("coder", BUILDS)
    cast.plays("judge", PASS)
    new_task(cast.repo.path, "One", "")
    assert gitmill(cast.repo.path, "run").code == 0
    assert cast.calls("nobody") == []


def test_items_of_other_agents_continue_during_a_cooldown(cast: Cast):
    """The judge is out; both tasks are still built."""
    cast.plays("coder", BUILDS, PASS | {"write": {"c.txt": "c\n"}})
    cast.plays("judge", {"exit": 69, "error": "service unavailable"})
    for title in ("One", "Two"):
        new_task(cast.repo.path, title, "")
    result = gitmill(cast.repo.path, "run", "--json")
    assert result.code == 4
    assert {item["stage"] for item in result.json["items"]} == {"review"}
    assert [one["error"] for one in result.json["resting"]] == ["agent-cools"] * 2
    assert (len(cast.calls("coder")), len(cast.calls("judge"))) == (2, 1)


@pytest.mark.slow
def test_a_short_wait_is_waited_for(sandbox: Sandbox):
    cast = Cast(sandbox, {}, {"builder": "coder", "reviewer": "judge"})
    cast.plays("judge", PASS)
    cast.plays("coder", LIMIT | {"news": [{"retry_after": 1}]}, BUILDS)
    new_task(cast.repo.path, "One", "")
    began = time.monotonic()
    result = gitmill(cast.repo.path, "run")
    assert result.code == 0, result.err
    assert time.monotonic() - began > 1
    assert not json.loads((cast.repo.git_dir / "gitmill/cooling.json").read_text())["agents"], (
        "an answer resets it"
    )


def test_a_signed_out_agent_needs_a_person(cast: Cast):
    cast.plays("coder", {"exit": 77, "error": "not logged in"})
    new_task(cast.repo.path, "One", "")
    code, _, err = gitmill(cast.repo.path, "run").plain()
    assert code == 3
    assert when(err).endswith(
        "error[agent-signed-out]: build waits for coder, which is not signed in\n"
        "    coder      unauthorised, until THEN: not logged in\n"
        "hint: sign in to coder, then `gitmill agent try coder`\n"
        "next: `gitmill status`\n"
    )
    assert gitmill(cast.repo.path, "run").code == 3
    assert len(cast.calls("coder")) == 1
    cast.plays("coder", {}, PASS | {"write": {"hello.txt": "hello\n"}}, BUILDS)
    tried = gitmill(cast.repo.path, "agent", "try", "coder")
    assert tried.code == 0, tried.err
    assert gitmill(cast.repo.path, "run").code == 0, "who has answered is asked again at once"


def test_agent_try_does_not_wait_for_a_limited_agent(cast: Cast):
    cast.plays("coder", LIMIT | {"news": [{"retry_after": 20}]})
    began = time.monotonic()
    assert gitmill(cast.repo.path, "agent", "try", "coder").code == 1
    assert time.monotonic() - began < 20


def test_a_broken_or_missing_cooling_file_stops_no_agent(cast: Cast):
    cast.plays("coder", LIMIT, BUILDS)
    new_task(cast.repo.path, "One", "")
    assert gitmill(cast.repo.path, "run").code == 4
    (cast.repo.git_dir / "gitmill/cooling.json").write_text("{broken")
    assert gitmill(cast.repo.path, "status").code == 0
    assert gitmill(cast.repo.path, "run").code == 0
