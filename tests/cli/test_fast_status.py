"""The kept board: the same screen, and never an old one."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo()
    assert gitmill(repo.path, "init").code == 0
    new_task(repo.path, "One", "true", "--criterion", "prose", "--criterion", "$ true")
    return repo


def kept(repo: Repo):
    return repo.git_dir / "gitmill/board.json"


def test_a_kept_board_prints_what_the_state_says(repo: Repo):
    slow = gitmill(repo.path, "status")
    assert kept(repo).exists()
    fast = gitmill(repo.path, "status")
    assert fast.plain() == slow.plain()
    as_json = [gitmill(repo.path, "status", "--json").json for _ in range(2)]
    assert as_json[0] == as_json[1]
    assert as_json[0]["counts"]["ready"] == 1


def test_the_kept_board_is_what_is_printed_and_only_for_its_own_commit(repo: Repo):
    gitmill(repo.path, "status")
    told = json.loads(kept(repo).read_text())
    told["board"]["rows"][0]["title"] = "From the file"
    kept(repo).write_text(json.dumps(told))
    assert "From the file" in gitmill(repo.path, "status").out
    new_task(repo.path, "Two", "true")
    shown = gitmill(repo.path, "status").out
    assert "From the file" not in shown
    assert re.search(r"ready +t-\w+ +Two ", shown)


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"tip": 1}', b"\xff\xfe", b"{"])
def test_a_damaged_kept_board_is_made_again(repo: Repo, damage: bytes):
    gitmill(repo.path, "status")
    kept(repo).write_bytes(damage)
    assert gitmill(repo.path, "status").code == 0
    assert json.loads(kept(repo).read_text())["board"]["rows"][0]["title"] == "One"
