"""Move the user's checkout to a candidate: wholly, or not at all.

The move is marked on disk, with the files that it replaces, before git begins; `recovery` reads the
mark after a kill.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gitmill import files
from gitmill.errors import CheckoutBlockedError, CheckoutTornError, GitKilledError, GitmillError
from gitmill.git.checkout import fast_forward
from gitmill.git.missing_checkout import is_removed
from gitmill.git.repo import Checkout
from gitmill.git.undo_fast_forward import keep_originals, undo_fast_forward
from gitmill.git.worktree_entries import remove
from gitmill.hints import Gitmill, Hint, Shell
from gitmill.mill import Mill

# Below .git/gitmill: the candidate that a checkout is being moved to, and the files it replaces.
MOVING, ORIGINALS = "moving", "originals"


def move_checkout(mill: Mill, checkout: Checkout, *, onto: str, candidate: str, lock: int) -> None:
    """Fast-forward a checkout from `onto` to a candidate; the git process inherits `lock`.

    Raises `CheckoutBlockedError` with everything as it was, and `CheckoutTornError` if something
    could not be undone.
    """
    options = mill.repository.writer.options
    with _marked(mill, checkout, onto, candidate):
        fast_forward(checkout, candidate, lock=lock, options=options)


@contextmanager
def _marked(mill: Mill, checkout: Checkout, onto: str, candidate: str) -> Iterator[None]:
    """Undo the move of a checkout when it fails.

    The move is marked on disk, with the files that it replaces, so that recovery can finish it or
    undo it after a kill. The mark stays if the git was killed that moves it, and if something
    could not be undone.
    """
    private = mill.repository.private
    try:
        keep_originals(private / ORIGINALS, checkout, mill.changes(onto, candidate))
    except OSError as error:
        raise CheckoutBlockedError(
            f"the files that the landing changes in {checkout.path} cannot be kept; "
            "nothing was changed",
            evidence=[f"{error.filename}: {(error.strerror or 'refused').lower()}"],
            hints=[Hint("put that right, then", Gitmill("queue", "land"))],
        ) from error
    files.replace(private / MOVING, candidate.encode(), durable=mill.repository.durable)
    try:
        yield
    except GitKilledError:
        raise
    except BaseException:
        undo_move(mill, checkout, onto, candidate)
        raise
    forget_move(mill)


def undo_move(mill: Mill, checkout: Checkout, onto: str, candidate: str) -> tuple[str, ...]:
    """Undo the move of a checkout that did not reach its branch; return the paths.

    Raises `CheckoutTornError`, with the mark of the move kept, when a path could not be undone.
    """
    if is_removed(mill.repository, checkout):
        forget_move(mill)
        return ()
    changed, originals = mill.changes(onto, candidate), mill.repository.private / ORIGINALS
    marked = interrupted_move(mill, candidate) is not None
    evidence: list[str] = []
    try:
        done = undo_fast_forward(
            checkout, mill.store.backend, changed, originals if marked else None
        )
        evidence = list(done.left)
    except GitmillError as error:  # a killed git as well: the mark stays, and `recover` tries again
        evidence = [error.message, *error.evidence]
    except OSError as error:
        evidence = [f"{error.filename}: {(error.strerror or 'refused').lower()}"]
    if evidence:
        raise CheckoutTornError(
            f"a landing could not be undone in {checkout.path}; "
            f"the files that it replaces are below {originals}",
            evidence=evidence[:6],
            hints=[
                Hint("see", Shell("git status"), "there, remove what blocks it, then"),
                Hint(Gitmill("recover")),
            ],
        )
    forget_move(mill)
    return done.paths


def forget_move(mill: Mill) -> None:
    """Remove the mark of a move of a checkout, and the files that were kept for it."""
    (mill.repository.private / MOVING).unlink(missing_ok=True)
    remove(mill.repository.private / ORIGINALS)


def interrupted_move(mill: Mill, candidate: str) -> float | None:
    """Return when the move of a checkout to a candidate began, None unless it was interrupted."""
    marker = mill.repository.private / MOVING
    try:
        return marker.stat().st_mtime if files.read_regular(marker) == candidate.encode() else None
    except FileNotFoundError:
        return None
