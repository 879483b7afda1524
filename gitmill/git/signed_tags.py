"""Signed tags that no ref names yet, and what their signatures are worth here. See git-tag(1).

git itself signs and verifies, by the user's settings `gpg.*` and `user.signingKey`.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from subprocess import TimeoutExpired

from gitmill.errors import CannotSignError
from gitmill.git.executable import Git
from gitmill.git.objects import Backend
from gitmill.hints import Hint, Shell

PATIENCE = 60.0  # seconds for the program that signs, which may ask the user for a passphrase
_SIGNERS = "gpg.ssh.allowedSignersFile"
_SIGNED = re.compile(
    r"^-----BEGIN [A-Z ]+-----\n.*-----END [A-Z ]+-----$", re.MULTILINE | re.DOTALL
)
_BAD = re.compile(r"\[GNUPG:\] BADSIG|incorrect signature|no signature found|non-tag object")
_STRANGER = re.compile(r"\[GNUPG:\] (?:NO_PUBKEY|ERRSIG)|^No principal matched", re.MULTILINE)


class Trust(Enum):
    """What a signature is worth in this clone."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"  # its key is not known here, or no program verifies it


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature, and why it is not good."""

    trust: Trust
    why: str = ""


def sign_tag(git: Git, name: str, commit: str, message: str, *, scratch: Path) -> str:
    """Write a signed tag of a commit and return its id; no ref of the repository moves.

    `git tag` needs a ref, so it gets a git directory of its own below `scratch`, which reads the
    repository's settings and writes into its objects. Raises `CannotSignError`.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tag-", dir=scratch.absolute()) as folder:
        own = _git_directory(Path(folder), git, sha256=len(commit) == 64)
        env = {"GIT_OBJECT_DIRECTORY": str(git.git_dir / "objects")}
        try:
            argv = ("tag", "--sign", f"--message={message}", "--", name, commit)
            done = own.run(*argv, env=env, check=False, timeout=PATIENCE)
        except TimeoutExpired:
            raise _cannot_sign(f"the program that signs took more than {PATIENCE:.0f} s") from None
        # If a key of ssh cannot be used, git 2.39 makes a tag without a signature and exits 0.
        if done.returncode != 0 or not _SIGNED.search(own.out("cat-file", "tag", name, env=env)):
            raise _cannot_sign(*done.error.splitlines()[-4:])
        return own.out("rev-parse", f"refs/tags/{name}", env=env)


def _git_directory(folder: Path, git: Git, *, sha256: bool) -> Git:
    """Make a git directory without objects; the settings of another one are included in it."""
    (folder / "refs/tags").mkdir(parents=True)
    (folder / "HEAD").write_text("ref: refs/heads/none\n")
    own = Git(folder, options=git.options)
    config = str(folder / "config")
    for key, value in {
        "core.repositoryFormatVersion": "1" if sha256 else "0",
        **({"extensions.objectFormat": "sha256"} if sha256 else {}),
        "include.path": str((git.git_dir / "config").absolute()),
    }.items():
        own.run("config", "--file", config, key, value)
    return own


def _cannot_sign(*evidence: str) -> CannotSignError:
    return CannotSignError(
        "git cannot sign a tag",
        evidence=evidence,
        hints=[
            Hint("name your key with", Shell("git config user.signingKey KEY")),
            Hint("a key of ssh also needs", Shell("git config gpg.format ssh")),
        ],
    )


def tagged_commit(backend: Backend, oid: str) -> str:
    """Return the commit that a tag object names, empty if it is no tag of a commit."""
    kind, data = backend.read(oid)
    head = data.partition(b"\n\n")[0].decode("utf-8", "replace")
    found = re.match(r"object ([0-9a-f]+)\ntype commit\n", head)
    return found[1] if kind == "tag" and found else ""


def verify_tag(git: Git, oid: str) -> Signature:
    """Verify the signature of a tag object offline. Raises `MissingObjectError`."""
    options: tuple[str, ...] = ()
    if not git.run("config", _SIGNERS, check=False).text.strip():
        # Otherwise git asks ssh-keygen nothing at all, and a changed tag would not be found.
        options = ("-c", f"{_SIGNERS}=/dev/null")
    done = git.run(*options, "verify-tag", "--raw", oid, check=False)
    if done.returncode == 0:
        return Signature(Trust.GOOD)
    said = f"{done.text}\n{done.error}"
    if _BAD.search(said):
        return Signature(Trust.BAD, "its signature is not of this content or missing")
    if _STRANGER.search(said):
        return Signature(Trust.UNKNOWN, "its signer is not known here")
    last = done.error.splitlines()[-1:] or [f"git verify-tag exited {done.returncode}"]
    return Signature(Trust.UNKNOWN, last[0].removeprefix("error: "))
