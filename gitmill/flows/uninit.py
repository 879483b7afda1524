"""Remove gitmill from a repository: bundle everything, verify the bundle, then remove every trace.

The order makes a kill harmless: worktrees are saved under rescue refs, all refs go into the bundle
and its name into a record below `.git/gitmill`; only then are the traces removed, the record last.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gitmill import files
from gitmill.attempts import transcripts
from gitmill.core.lifecycle import WORKING
from gitmill.errors import (
    CheckoutBlockedError,
    GitmillError,
    LeasedError,
    NothingToDoError,
    SlotBusyError,
    UsageError,
)
from gitmill.failpoints import chokepoint
from gitmill.flows.init import NOTES_KEYS, NOTES_PATTERN, detect_checks, proposal
from gitmill.flows.recover import recover
from gitmill.git import bundle
from gitmill.git.worktrees import Slot
from gitmill.hints import Blank, Gitmill, Hint
from gitmill.landing.publish import land_lock
from gitmill.mill import Mill
from gitmill.plans.policy import POLICY
from gitmill.store import layout
from gitmill.workspace import agent_homes
from gitmill.workspace.leases import has_lapsed
from gitmill.workspace.rescue import keep_worktree
from gitmill.workspace.signals import workers

_RECORD = "uninit.json"


@dataclass(frozen=True, slots=True)
class Traces:
    """The traces of gitmill in a repository; `proposal` is a policy as written by `init`.

    The bundle has the refs only: `transcripts` are removed with the folder `private`.
    """

    refs: dict[str, str]
    settings: dict[str, list[str]]
    worktrees: Path | None
    private: Path | None
    transcripts: Path | None
    proposal: Path | None
    committed: bool

    def __bool__(self) -> bool:
        paths = (self.worktrees, self.private, self.proposal)
        return bool(self.refs or self.settings or any(paths))


@dataclass(frozen=True, slots=True)
class Removed:
    """The removed traces, and the bundle with the refs; None if there were none."""

    traces: Traces
    bundle: Path | None


def survey(mill: Mill) -> Traces:
    """Return the traces of gitmill in a repository. Raises `NothingToDoError` without any."""
    private, pool, top = mill.repository.private, mill.pool.folder, mill.repository.top
    policy = top / POLICY if top else None
    stored = transcripts.path_of(mill, "", "")
    committed = bool(policy and mill.repository.git.run(
        "rev-parse", "-q", "--verify", f"HEAD:{POLICY}", check=False).returncode == 0)  # fmt: skip
    proposed = top and policy and not committed and _text(policy) == proposal(detect_checks(top))
    traces = Traces(
        _refs(mill),
        _settings(mill),
        pool if pool.is_dir() else None,
        private if private.is_dir() else None,
        stored if any(stored.glob("*/*.txt")) else None,
        policy if proposed else None,
        committed,
    )
    if not traces:
        raise NothingToDoError("gitmill has left no trace in this repository")
    return traces


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _refs(mill: Mill) -> dict[str, str]:
    backend = mill.repository.reader  # git lists a ref that cannot be read, libgit2 omits it
    refs = {ref: oid for own in layout.OWN for ref, oid in backend.refs(own).items()}
    return {ref: oid for ref, oid in refs.items() if layout.is_own(ref)}


def _settings(mill: Mill) -> dict[str, list[str]]:
    """Return gitmill's settings in the repository's own configuration, by key."""
    git = mill.repository.git
    pattern = r"^(gitmill\.|notes\.(rewrite|display)ref$)"
    query = ("config", "--local", "-z", "--get-regexp", pattern)
    settings: dict[str, list[str]] = {}
    for entry in git.run(*query, check=False).text.split("\0"):
        key, _, value = entry.partition("\n")
        if key.startswith("gitmill.") or value == NOTES_PATTERN:
            settings.setdefault(key, []).append(value)
    return settings


def uninit(mill: Mill, *, to: Path | None = None) -> Removed:
    """Save all traces of gitmill in a bundle and remove them. It can be repeated after a kill.

    The bundle is created beside the repository unless `to` names a file. Raises `LeasedError` or
    `LandBusyError` while a worker is running, `CheckoutBlockedError` when the state branch is
    checked out, `UsageError` when `to` exists.
    """
    _refuse_checked_out(mill)
    with _exclusive(mill) as slots:
        for slot in slots:
            _save(mill, slot)
        agent_homes.return_credentials(mill)
        traces = survey(mill)
        saved = _write_bundle(mill, traces.refs, to) if traces.refs else _recorded(mill)[0]
        _remove_worktrees(mill, slots)
        _remove_refs(mill, traces.refs)
        _remove_settings(mill, traces)
    if traces.proposal is not None:
        traces.proposal.unlink(missing_ok=True)
        with suppress(OSError):
            traces.proposal.parent.rmdir()
    with chokepoint("remove private"):
        shutil.rmtree(mill.repository.private, ignore_errors=True)
    return Removed(traces, saved)


# -- exclusive access ------------------------------------------------------------------------------


def _refuse_checked_out(mill: Mill) -> None:
    for checkout in mill.repository.checkouts():
        if layout.is_own(checkout.branch):
            raise CheckoutBlockedError(
                f"{checkout.branch.removeprefix('refs/heads/')} is checked out in {checkout.path}; "
                "nothing was removed",
                hints=[Hint("switch to another branch there, then", Gitmill("uninit"))],
            )


@contextmanager
def _exclusive(mill: Mill) -> Iterator[list[Slot]]:
    """Recover from dead processes, then hold every lock that a worker needs."""
    if others := workers(mill):
        pids = ", ".join(str(facts.pid) for facts in others)
        raise LeasedError(
            f"gitmill is running in this repository (process {pids}); nothing was removed",
            hints=[Hint("end it with", Gitmill("stop"), ", then", Gitmill("uninit"))],
        )
    with suppress(GitmillError):  # a state that cannot be read is bundled as it is
        recover(mill)
    _refuse_leases(mill)
    with land_lock(mill):
        try:
            slots = mill.pool.hold_all()
        except SlotBusyError as error:
            raise LeasedError(f"{error.message}; nothing was removed") from error
        try:
            yield slots
        finally:
            for slot in slots:
                slot.release()


def _refuse_leases(mill: Mill) -> None:
    try:
        items = mill.snapshot().items.values()
    except GitmillError:  # a state that cannot be read names no leases
        return
    for item in items:
        if item.status in WORKING and item.lease is not None and not has_lapsed(mill, item.lease):
            until = f"{item.lease.until:%Y-%m-%d %H:%M} UTC"
            raise LeasedError(
                f"{item.id} is held by {item.lease.who} until {until}; nothing was removed",
                hints=[
                    Hint("stop the work on this machine with", Gitmill("stop")),
                    Hint(
                        "or release the item:",
                        Gitmill("task", "block", item.id, "-m", Blank("WHY")),
                    ),
                ],
            )


def _save(mill: Mill, slot: Slot) -> None:
    """Save work that exists only in a worktree under a rescue ref."""
    slot.rescue(lambda *work: keep_worktree(mill, *work))
    item_id, onto = slot.path.name.removeprefix("take-"), slot.side / "onto"
    if item_id != slot.path.name and onto.exists() and slot.path.is_dir():
        keep_worktree(mill, slot, item_id, onto.read_text())


# -- the bundle ------------------------------------------------------------------------------------


def _write_bundle(mill: Mill, refs: dict[str, str], wanted: Path | None) -> Path:
    """Return a verified bundle of these refs, that of an interrupted `uninit` if it has them."""
    earlier, bundled = _recorded(mill)
    has_all = earlier is not None and refs.items() <= bundled.items()
    if earlier is not None and has_all and (wanted is None or refs != bundled):
        return earlier
    path = (wanted or _bundle_path(mill, refs)).absolute()
    if not path.exists():
        bundle.write(mill.repository.git, path, refs)
    elif not bundle.holds(mill.repository.git, path, refs):
        raise UsageError(
            f"{path} already exists; nothing was removed",
            hints=[Hint("name another file:", Gitmill("uninit", "--bundle", Blank("FILE")))],
        )
    record = json.dumps({"bundle": str(path), "refs": refs}).encode()
    files.replace(mill.repository.private / _RECORD, record, durable=mill.repository.durable)
    return path


def _recorded(mill: Mill) -> tuple[Path | None, dict[str, str]]:
    """Return the bundle of an interrupted `uninit` if it is still valid."""
    try:
        record = json.loads((mill.repository.private / _RECORD).read_text())
        path, refs = Path(record["bundle"]), dict(record["refs"])
    except (OSError, ValueError, KeyError):
        return None, {}
    return (path, refs) if bundle.holds(mill.repository.git, path, refs) else (None, {})


def _bundle_path(mill: Mill, refs: dict[str, str]) -> Path:
    """Return a path beside the repository, named after the repository and the refs."""
    digest = hashlib.sha256(json.dumps(sorted(refs.items())).encode()).hexdigest()[:8]
    folder = mill.repository.top or mill.repository.common
    name = mill.repository.name.rpartition("-")[0]
    return folder.parent / f"{name}-gitmill-{digest}.bundle"


# -- removing --------------------------------------------------------------------------------------


def _remove_worktrees(mill: Mill, slots: list[Slot]) -> None:
    for slot in slots:
        slot.discard()
    mill.pool.drop_leftover_entries()
    folder = mill.pool.folder
    with chokepoint("remove pool"):
        shutil.rmtree(folder, ignore_errors=True)
    for parent in (mill.repository.common / "worktrees", folder.parent):
        if parent.name in ("worktrees", "gitmill"):
            with suppress(OSError):  # not empty
                parent.rmdir()


def _remove_refs(mill: Mill, refs: dict[str, str]) -> None:
    """Remove all refs, with their reflogs, in one git transaction."""
    if refs:
        mill.store.remove(refs)
    for own in layout.OWN:
        for root in (mill.repository.common / own, mill.repository.common / "logs" / own):
            below = sorted(root.glob("**/"), reverse=True)
            for folder in (*below, root, root.parent):
                if folder.name not in ("refs", "heads"):
                    with suppress(OSError):  # git leaves empty folders behind
                        folder.rmdir()


def _remove_settings(mill: Mill, traces: Traces) -> None:
    git = mill.repository.git
    for key in traces.settings:
        if key.startswith("gitmill."):
            git.run("config", "--local", "--unset-all", key)
    for key in NOTES_KEYS:
        git.run(
            "config", "--local", "--fixed-value", "--unset-all", key, NOTES_PATTERN, check=False
        )
