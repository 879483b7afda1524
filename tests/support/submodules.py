"""Repositories with submodules."""

from __future__ import annotations

import os

from tests.support.repos import Repo, Sandbox

ALLOW = ("-c", "protocol.file.allow=always")  # for each git that fetches one from a local path


def nested(sandbox: Sandbox) -> Repo:
    """Return a repository to use as a submodule, which has one itself at `in/deep`."""
    deep = sandbox.repo("deep", files={"deep.txt": "deep\n"})
    lib = sandbox.repo("lib", files={"lib.txt": "1\n"})
    lib.git(*ALLOW, "submodule", "--quiet", "add", os.fspath(deep.path), "in/deep")
    lib.git("commit", "-q", "-m", "with deep")
    return lib
