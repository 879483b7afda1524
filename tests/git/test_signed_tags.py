"""git signs a tag that no ref names, in a repository of either format."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitmill.git.repo import Repository
from gitmill.git.signed_tags import Trust, sign_tag, tagged_commit, verify_tag
from tests.support.repos import Sandbox
from tests.support.ssh_keys import allow, new_key, sign_with


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_a_signed_tag_leaves_no_ref_and_no_folder(
    sandbox: Sandbox, tmp_path: Path, object_format: str
):
    repo = sandbox.repo(object_format=object_format)
    key = new_key(tmp_path)
    sign_with(repo, key)
    allow(repo, key)
    refs = repo.git("for-each-ref")
    repository, scratch = Repository.open(repo.path), tmp_path / "scratch"
    head = repo.git("rev-parse", "HEAD")
    tag = sign_tag(repository.git, "mine", head, "why", scratch=scratch)
    assert (repo.git("for-each-ref"), list(scratch.iterdir())) == (refs, [])
    assert tagged_commit(repository.objects, tag) == head
    assert verify_tag(repository.git, tag).trust is Trust.GOOD
    assert tagged_commit(repository.objects, head) == ""


@pytest.fixture
def gnupg(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A keyring with one key; its path is short, for the socket of the agent of gpg is in it."""
    if shutil.which("gpg") is None:
        pytest.fail("there is no gpg, so its signatures cannot be tested: install gpg")
    folder = Path(tempfile.mkdtemp(prefix="g-", dir="/tmp"))
    monkeypatch.setenv("GNUPGHOME", str(folder))
    new = ["--quick-gen-key", "Ada <ada@example.com>", "default", "default", "never"]
    argv = ["gpg", "--batch", "--quiet", "--passphrase", "", *new]
    subprocess.run(argv, check=True, capture_output=True)
    yield folder
    subprocess.run(["gpgconf", "--homedir", str(folder), "--kill", "all"], check=True)
    shutil.rmtree(folder, ignore_errors=True)


def test_signatures_of_gpg_are_good_changed_or_of_a_stranger(
    sandbox: Sandbox, tmp_path: Path, gnupg: Path, monkeypatch: pytest.MonkeyPatch
):
    repo = sandbox.repo()
    git = Repository.open(repo.path).git
    tag = sign_tag(git, "mine", repo.git("rev-parse", "HEAD"), "why", scratch=tmp_path / "s")
    assert verify_tag(git, tag).trust is Trust.GOOD
    data = (repo.git("cat-file", "tag", tag) + "\n").replace("why", "who")
    other = repo.git("hash-object", "-t", "tag", "-w", "--stdin", stdin=data.encode())
    assert verify_tag(git, other).trust is Trust.BAD
    empty = gnupg / "empty"
    empty.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(empty))
    unknown = verify_tag(git, tag)
    assert (unknown.trust, unknown.why) == (Trust.UNKNOWN, "its signer is not known here")
