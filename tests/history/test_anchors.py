"""An anchor is git's signed tag of the state's tip; fsck finds one that a rewritten history lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gitmill.core.item import Item
from gitmill.errors import CannotSignError, NothingToDoError
from gitmill.flows.anchor import anchor, anchor_landings
from gitmill.history.fsck import Verified, fsck
from gitmill.mill import Mill
from tests.history.conftest import History
from tests.support.cli import begun, gitmill, new_task
from tests.support.forge import STATE, Forgery
from tests.support.repos import Repo, Sandbox
from tests.support.ssh_keys import allow, new_key, sign_with

pytestmark = pytest.mark.forges
ANCHORS = "refs/gitmill/anchor/"


def verify(repo: Repo, commits: str = "") -> Verified:
    return fsck(Mill.open(repo.path), commits=commits)


def found(verified: Verified) -> list[tuple[str, str]]:
    return [(fault.rule, fault.what.partition(": ")[2]) for fault in verified.report.faults]


def unknown(verified: Verified) -> list[str]:
    return [one.what.partition(": ")[2] for one in verified.report.unknown]


def anchors(repo: Repo) -> list[str]:
    return repo.git("for-each-ref", "--format=%(refname)", ANCHORS).splitlines()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return new_key(tmp_path)


@pytest.fixture
def signing(history: History, key: Path) -> Repo:
    """A repository whose user signs with a key that it accepts."""
    sign_with(history.repo, key)
    allow(history.repo, key)
    return history.repo


def put(repo: Repo, tag: str) -> None:
    repo.git("update-ref", anchors(repo)[-1], tag)


def changed(repo: Repo, tag: str, old: str, new: str) -> str:
    """Return a copy of a tag object with another text in it."""
    data = (repo.git("cat-file", "tag", tag) + "\n").replace(old, new)
    return repo.git("hash-object", "-t", "tag", "-w", "--stdin", stdin=data.encode())


def test_an_anchor_is_a_tag_that_git_verifies_and_no_tag_of_the_user(signing: Repo):
    made = anchor(Mill.open(signing.path), "before the audit")
    assert signing.git("rev-parse", f"{made.ref}^{{commit}}") == signing.git("rev-parse", STATE)
    assert (anchors(signing), signing.git("tag")) == ([made.ref], "")
    signing.git("verify-tag", made.tag)
    assert "before the audit" in signing.git("cat-file", "tag", made.tag)
    assert made.problem == ""
    assert list((signing.path / ".git/gitmill").glob("tag-*")) == []
    assert (verify(signing).holds, verify(signing).report.notices) == (True, [])
    with pytest.raises(NothingToDoError, match="has an anchor already"):
        anchor(Mill.open(signing.path))


def test_a_consistent_rewrite_below_an_anchor_is_found(history: History, signing: Repo):
    """Nobody can tell a forged time of the last event, except by the anchor above it."""
    made = anchor(Mill.open(signing.path))
    forgery = Forgery(signing)
    last = forgery.commits[-1]
    last.author = last.committer = last.author.replace("Ada <ada@", "Eve <eve@")
    last.say(By="Eve <eve@example.com>")
    forgery.write()
    what = f"anchor {made.ref.removeprefix(ANCHORS)} is of {made.commit[:10]}, which is not on"
    verified = verify(signing)
    assert [(one.rule, one.commit) for one in verified.report.faults] == [("anchor", made.commit)]
    assert verified.report.faults[0].what.startswith(what)
    signing.git("update-ref", "-d", made.ref)
    assert verify(signing).holds, "without the anchor it passes for a true history"


def test_a_branch_that_was_cut_off_below_an_anchor_is_found(signing: Repo):
    anchor(Mill.open(signing.path))
    signing.git("update-ref", STATE, f"{STATE}~1")
    assert [rule for rule, _ in found(verify(signing))] == ["anchor"]
    assert verify(signing, "..gitmill/state~1").holds, "it belongs to the end of the branch"


@pytest.mark.slow
def test_a_tag_that_was_changed_or_is_not_signed_is_a_fault(signing: Repo):
    made = anchor(Mill.open(signing.path))
    bad = [("anchor", "its signature is not of this content or missing")]
    other = signing.git("rev-parse", f"{STATE}~2")
    put(signing, changed(signing, made.tag, made.commit, other))
    assert found(verify(signing)) == bad
    assert verify(signing, f"{other}..").holds, "it names a commit before the range"
    put(signing, changed(signing, made.tag, "gitmill state", "gitmill fate"))
    assert found(verify(signing)) == bad
    signing.git("config", "--unset", "gpg.ssh.allowedSignersFile")
    assert found(verify(signing)) == bad, "the content needs no known signer"
    signing.git("tag", "-a", "-m", "unsigned", "plain", STATE)
    put(signing, signing.git("rev-parse", "plain"))
    assert found(verify(signing)) == bad
    put(signing, made.commit)
    assert found(verify(signing)) == bad


@pytest.mark.slow
def test_a_signer_whom_this_clone_does_not_know_cannot_be_checked(signing: Repo, tmp_path: Path):
    anchor(Mill.open(signing.path))
    allow(signing, new_key(tmp_path, "another"))
    assert (found(verify(signing)), unknown(verify(signing))) == (
        [],
        ["its signer is not known here"],
    )
    signing.git("config", "--unset", "gpg.ssh.allowedSignersFile")
    said = gitmill(signing.path, "fsck")
    assert said.code == 1
    assert "its signer is not known here" in said.out
    assert said.err == ("next: `git config gpg.ssh.allowedSignersFile FILE`, then `gitmill fsck`\n")


def test_a_key_that_does_not_sign_is_an_error_with_the_settings(history: History, tmp_path: Path):
    sign_with(history.repo, tmp_path / "nowhere.pub")
    with pytest.raises(CannotSignError) as refused:
        anchor(Mill.open(history.repo.path))
    assert refused.value.evidence
    assert anchors(history.repo) == []


def test_the_command_prints_the_ref_and_what_this_clone_lacks(signing: Repo):
    said = gitmill(signing.path, "anchor", "--json").json
    assert said["ref"] == anchors(signing)[0]
    assert (said["commit"], said["verified"]) == (signing.git("rev-parse", STATE), True)
    signing.git("config", "--unset", "gpg.ssh.allowedSignersFile")
    assert gitmill(signing.path, "task", "cancel", _item(signing)).code != 70
    signing.git("update-ref", "-d", anchors(signing)[0])
    err = gitmill(signing.path, "anchor").err.splitlines()
    assert err[1:] == [
        "warning: this clone cannot verify it: its signer is not known here",
        "next: `git config gpg.ssh.allowedSignersFile FILE`, then `gitmill fsck`",
    ]


def _item(repo: Repo) -> str:
    items = gitmill(repo.path, "task", "list", "--json").json["items"]
    return items[0]["id"]


# -- after landings --------------------------------------------------------------------------------


def policy(when: str) -> str:
    return f'[checks]\ntest = "true"\n[audit]\nanchor = "{when}"\n'


def test_a_run_that_lands_leaves_an_anchor_if_the_policy_wants_it(sandbox: Sandbox, key: Path):
    repo = begun(sandbox, files={".gitmill/config.toml": policy("landing")})
    repo.unfence()
    sign_with(repo, key)
    allow(repo, key)
    new_task(repo.path, "One", "echo 1 > one.txt")
    assert gitmill(repo.path, "run").code == 0
    (ref,) = anchors(repo)
    assert repo.git("rev-parse", f"{ref}^{{commit}}") == repo.git("rev-parse", STATE)
    sign_with(repo, key.with_name("nowhere.pub"))
    new_task(repo.path, "Two", "echo 2 > two.txt")
    assert gitmill(repo.path, "run", "--through", "approved").code == 0
    assert anchors(repo) == [ref], "nothing landed"
    said = gitmill(repo.path, "queue", "land")
    assert (said.code, anchors(repo)) == (0, [ref])
    assert "warning: the state branch has no anchor of these landings: git cannot" in said.err
    assert verify(repo).holds


def test_once_a_day_is_enough_if_the_policy_says_day(history: History, signing: Repo):
    signing.commit({".gitmill/config.toml": policy("day")}, "a person's own")
    mill = Mill.open(signing.path)
    begin = datetime(2026, 1, 5, 12, tzinfo=UTC)
    landed = [mill.snapshot().item(history.first)]
    made = [_anchored(signing, begin + timedelta(hours=hours), landed) for hours in (0, 6, 13)]
    assert made == [1, 1, 2]
    assert _anchored(signing, begin + timedelta(days=3), []) == 2


def _anchored(repo: Repo, now: datetime, landed: list[Item]) -> int:
    """Write a state commit, then anchor at a time; return how many anchors there are."""
    mill = Mill.open(repo.path)
    mill.now = lambda: now
    gitmill(repo.path, "pause", "-m", str(now))
    anchor_landings(mill, landed, lambda _: None)
    return len(anchors(repo))
