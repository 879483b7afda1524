"""`gitmill mode`: who does what, as the policy and the shipped modes say."""

from __future__ import annotations

from tests.support.cli import gitmill
from tests.support.repos import Sandbox


def test_modes_are_listed_and_shown(sandbox: Sandbox):
    repo = sandbox.repo(files={
        ".gitmill/config.toml": 'mode = "ours"\n[checks]\ntest = "true"\n'
        '[modes.ours]\nroles = {builder = "shell", reviewer = "rules"}\n'
    })  # fmt: skip
    assert gitmill(repo.path, "init").code == 0
    listed = gitmill(repo.path, "mode")
    assert listed.code == 0
    assert [line[:14].strip() for line in listed.out.splitlines()] == [
        "careful", "offline", "* ours", "standard",
    ]  # fmt: skip
    assert gitmill(repo.path, "mode", "show", "ours").out == (
        "builder          shell\nreviewer         rules\n"
    )
    careful = gitmill(repo.path, "mode", "show", "careful").out.splitlines()
    assert "review           2 approvals" in careful
    assert "review           by agents other than each other" in careful
    told = gitmill(repo.path, "mode", "show", "careful", "--json").json["mode"]
    assert told["approvals"] == {"review": 2}
    wrong = gitmill(repo.path, "mode", "show", "carful")
    assert (wrong.code, wrong.err) == (
        2, "error[usage]: there is no mode carful\nhint: known: careful, offline, ours, standard\n",
    )  # fmt: skip


def test_every_shipped_mode_compiles(sandbox: Sandbox):
    repo = sandbox.repo(files={".gitmill/config.toml": '[checks]\ntest = "true"\n'})
    assert gitmill(repo.path, "init").code == 0
    for mode in ("offline", "standard", "careful"):
        assert gitmill(repo.path, "compile", "--check", "--mode", mode).code == 0, mode
    plan = gitmill(repo.path, "compile", "--check", "--mode", "careful", "--json").json["document"]
    assert "| troubleshoot | agent | codex, claude, gemini, opencode |" in plan
    assert '"approvals": 2, "distinct_from": ["review"]' in plan
