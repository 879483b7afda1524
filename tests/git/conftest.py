"""Backends over every kind of repository that the installed git can make."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gitmill.git.objects import Backend
from tests.support.repos import Repo, Sandbox
from tests.support.workers import Kind, open_backend


def _kinds() -> list[Kind]:
    kinds = [Kind("libgit2", "sha1"), Kind("plumbing", "sha1"), Kind("plumbing", "sha256")]
    helped = subprocess.run(["git", "init", "-h"], capture_output=True, text=True, check=False)
    if "--ref-format" in helped.stdout:
        kinds += [Kind("plumbing", digits, "reftable") for digits in ("sha1", "sha256")]
    return kinds


@pytest.fixture(params=_kinds(), ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
def repo(sandbox: Sandbox, kind: Kind) -> Repo:
    return sandbox.repo(
        object_format=kind.object_format, ref_format=kind.ref_format, files={"a.txt": "a\n"}
    )


@pytest.fixture
def open_it(kind: Kind) -> Callable[[Path], Backend]:
    """Open a repository, as one process of ours would."""
    return lambda path: open_backend(path, kind)


@pytest.fixture
def backend(repo: Repo, open_it: Callable[[Path], Backend]) -> Backend:
    return open_it(repo.path)
