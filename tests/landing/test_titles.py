"""A title that leads elsewhere: in the commit that lands, in its note and on the board."""

from __future__ import annotations

from tests.support.cli import begun, gitmill, new_task
from tests.support.repos import Sandbox

TITLE = "Fix \u202ethe\u202c ![x](https://evil.example/x.png) link"


def test_a_title_is_shown_without_live_links_and_hidden_characters(sandbox: Sandbox):
    repo = begun(sandbox)
    new_task(repo.path, TITLE, "echo x > x.txt")
    assert gitmill(repo.path, "run").code == 0
    message = repo.git("log", "-1", "--format=%B", "main")
    note = repo.git("notes", "--ref=gitmill", "show", "main")
    board = repo.git("show", "gitmill/state:README.md")
    subjects = repo.git("log", "--format=%s", "gitmill/state")
    for text in (message, note, board, subjects):
        assert "the" in text
        assert "\u202e" not in text
    for text in (message, note, board):
        assert "https://evil" not in text
    assert "![x](" not in board
    assert gitmill(repo.path, "fsck").code == 0
