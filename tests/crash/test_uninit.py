"""`gitmill uninit` killed before and after each outside effect, and run again."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

import pytest

from tests.flows.test_uninit import begun, refs, traces
from tests.support.crash_cases import Server
from tests.support.repos import Repo, Sandbox


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow)])
def test_killed_anywhere_and_run_again_it_finishes(
    sandbox: Sandbox, sealed: Path, server: Server, monkeypatch: pytest.MonkeyPatch, step: int
):
    repo = sandbox.repo(files={"a.txt": "one\n"})
    before = traces(repo, sealed)
    begun(repo)
    held, number = refs(repo), 0
    shutil.copytree(repo.path, sandbox.root / "kept-repo")
    shutil.copytree(sealed / "state", sandbox.root / "kept-state")
    for point in count(0, step):
        number, when = point // 2 + 1, ("before", "after")[(point + point // 4) % 2]
        monkeypatch.setenv("GITMILL_FAILPOINT", f"{when}:{number}")
        code = server.gitmill(repo.path, "uninit", "--yes").code
        monkeypatch.delenv("GITMILL_FAILPOINT")
        if code == 0:
            break
        assert code == -9
        assert not missing(repo, held), (when, number)
        again = server.gitmill(repo.path, "uninit", "--yes")
        assert again.code in (0, 5), (when, number, again.err)
        assert traces(repo, sealed) == before, (when, number)
        assert not missing(repo, held), (when, number)
        assert not list(sandbox.root.glob(".*bundle*"))
        restore(repo, sealed, sandbox.root)
    assert number > 20
    assert traces(repo, sealed) == before


def missing(repo: Repo, held: str) -> set[str]:
    """Return what is neither in the repository nor in one of the bundles."""
    bundles = repo.path.parent.glob("*.bundle")
    there = [line for b in bundles for line in repo.git("bundle", "list-heads", str(b)).split("\n")]
    there += [f"{line.split()[0]} {line.split()[2]}" for line in refs(repo).split("\n") if line]
    return {f"{line.split()[0]} {line.split()[2]}" for line in held.split("\n")} - set(there)


def restore(repo: Repo, home: Path, root: Path) -> None:
    for bundle in root.glob("*.bundle"):
        bundle.unlink()
    for kept, place in ((root / "kept-repo", repo.path), (root / "kept-state", home / "state")):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(kept, place)
