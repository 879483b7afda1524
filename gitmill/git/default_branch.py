"""The default branch of a repository, and the branch that a remote has in place of a local one."""

from __future__ import annotations

from dataclasses import dataclass

from gitmill.errors import RefMovedError
from gitmill.git.checkout import current_branch
from gitmill.git.objects import Move
from gitmill.git.repo import Repository

_USUAL = ("main", "master", "trunk")
_OWN = "gitmill/"  # branches of gitmill itself


@dataclass(frozen=True, slots=True)
class DefaultBranch:
    """A branch and the reason for it, without a verb, to be read after its name."""

    name: str
    why: str


def default_branch(repository: Repository) -> DefaultBranch | None:
    """Return the default branch of the remote, without one the usual branch here or the current.

    The branch might exist only on the remote. None if HEAD is detached and nothing else is obvious.
    """
    remote = _remote(repository)
    if remote and (found := _of_remote(repository, remote)):
        return found
    current = current_branch(repository)
    local = [name for name in _names(repository, "refs/heads/") if name in _USUAL]
    if current and (current in _USUAL or len(local) != 1):
        return DefaultBranch(current, "the branch that you are on")
    if len(local) == 1:
        return DefaultBranch(local[0], "the only usual name of a default branch here")
    return None


def _of_remote(repository: Repository, remote: str) -> DefaultBranch | None:
    head = repository.git.run("symbolic-ref", "-q", f"refs/remotes/{remote}/HEAD", check=False)
    names = _names(repository, f"refs/remotes/{remote}/")
    default = head.text.strip().removeprefix(f"refs/remotes/{remote}/")
    if default in names:
        return DefaultBranch(default, f"the default branch of {remote}")
    if len(names) == 1:
        return DefaultBranch(names[0], f"the only branch of {remote}")
    usual = next((name for name in _USUAL if name in names), "")
    return DefaultBranch(usual, f"the usual name, and {remote} has it") if usual else None


def _names(repository: Repository, prefix: str) -> list[str]:
    names = (ref.removeprefix(prefix) for ref in repository.reader.refs(prefix))
    return [name for name in names if name != "HEAD" and not name.startswith(_OWN)]


def _remote(repository: Repository) -> str:
    """Return the name of the remote that counts: `origin` or the only one, else empty."""
    remotes = repository.remotes
    return remotes[0] if remotes and (len(remotes) == 1 or remotes[0] == "origin") else ""


def tip_on_remote(repository: Repository, branch: str) -> str | None:
    """Return the commit that the remote had at a branch when it was last fetched."""
    remote = _remote(repository)
    return repository.reader.ref(f"refs/remotes/{remote}/{branch}") if remote else None


def create_local(repository: Repository, branch: str) -> bool:
    """Create a local branch as the remote has it, unless it exists; return whether it is there.

    HEAD, index and files of the user's checkout stay as they are.
    """
    ref = f"refs/heads/{branch}"
    if repository.reader.ref(ref) is not None:
        return True
    tip = tip_on_remote(repository, branch)
    if tip is None:
        return False
    try:
        repository.reader.swap([Move(ref, tip, None)])
    except RefMovedError:  # another process was faster
        return repository.reader.ref(ref) is not None
    return True
