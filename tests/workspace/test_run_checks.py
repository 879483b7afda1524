"""Every check runs on exactly the commit."""

from __future__ import annotations

from tests.support.cli import gitmill, new_task
from tests.support.repos import Sandbox


def test_files_that_a_check_changes_are_reset_before_the_next_check(sandbox: Sandbox):
    seen = sandbox.root / "seen"
    repo = sandbox.repo()
    repo.commit({"a.txt": "good\n"})  # the target is green
    assert gitmill(repo.path, "init").code == 0
    repo.commit(
        {
            ".gitmill/config.toml": "[checks]\n"
            'format = "echo good > a.txt; touch product; rm README.md"\n'
            f'test = "ls > {seen}; grep -q good a.txt"\n'
            "[limits]\nreturns = 1\n"
        }
    )
    task = new_task(repo.path, "Bad", "echo bad > a.txt")
    assert gitmill(repo.path, "run").code == 1
    shown = gitmill(repo.path, "task", "show", task, "--json").json
    assert shown["item"]["status"] == "blocked"
    checks = shown["attempts"][0]["checks"]
    assert [(c["name"], c["passed"]) for c in checks] == [("format", True), ("test", False)]
    assert seen.read_text().split() == ["README.md", "a.txt"]
