"""Keys of ssh that sign for git, and files of those who may sign."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.repos import Repo


def new_key(folder: Path, name: str = "key") -> Path:
    """Make a key without a passphrase; return the path of its public half."""
    if shutil.which("ssh-keygen") is None:
        pytest.fail("there is no ssh-keygen, so no anchor can be tested: install openssh-client")
    path = folder / name
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(argv, check=True)
    return path.with_suffix(".pub")


def sign_with(repo: Repo, key: Path) -> None:
    """Set git's configuration of a repository so that this key signs."""
    repo.git("config", "gpg.format", "ssh")
    repo.git("config", "user.signingKey", str(key))


def allow(repo: Repo, key: Path, who: str = "ada@example.com") -> None:
    """Let a repository accept signatures of this key alone."""
    signers = key.with_suffix(".signers")
    signers.write_text(f"{who} {key.read_text('utf-8')}")
    repo.git("config", "gpg.ssh.allowedSignersFile", str(signers))
