"""The pool of a repository's worktrees: acquiring slots, rescuing work of killed processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from gitmill.errors import GitmillError, NoSlotError, SlotBusyError
from gitmill.git.locks import try_lock
from gitmill.git.worktree_entries import entries
from gitmill.git.worktrees import Rescue, Slot, holder_of
from gitmill.hints import Gitmill, Hint

TAKEN = "take-"  # begins the name of a person's worktree, which the item's id ends
PATIENCE = 10.0  # seconds for the last processes of a killed attempt to end


class Pool:
    """The slots of one repository in one folder."""

    def __init__(self, folder: Path, common: Path, *, options: Sequence[str] = ()) -> None:
        self.folder = folder
        self._common = common
        self._options = tuple(options)

    def acquire(self, kind: str, rescue: Rescue) -> Slot:
        """Take the first free slot of a kind, after `rescue` saved work of a killed process in it.

        `rescue` is called with the slot, its holder and the commit that the work began from. A slot
        whose content it cannot save is left alone. Raises `NoSlotError`.
        """
        for number in range(1, 1000):
            slot = self._try(f"{kind}-{number}")
            if slot is None:
                continue
            try:
                slot.rescue(rescue)
            except GitmillError:  # `recover` tries it again and reports it
                slot.release()
            else:
                return slot
        raise NoSlotError(
            f"no free worktree in {self.folder}",
            hints=[Hint("see what is left there:", Gitmill("doctor"))],
        )

    def _try(self, name: str) -> Slot | None:
        lock = try_lock(self.folder / f"{name}.lock")
        if lock is None:
            return None
        side = self.folder / f"{name}.d"
        side.mkdir(parents=True, exist_ok=True)
        return Slot(self.folder / name, side, lock, self._common, self._options)

    def acquire_named(self, name: str) -> Slot:
        """Take a slot by its name: one that `acquire` never returns, or one to be removed.

        Raises `SlotBusyError` if another process holds it now.
        """
        slot = self._try(name)
        if slot is None:
            raise SlotBusyError(
                f"another process uses the worktree {name}",
                hints=[Hint("see what runs with", Gitmill("status"), ", then try again")],
            )
        return slot

    def hold_all(self) -> list[Slot]:
        """Take every existing slot; raise `SlotBusyError`, holding none, if one is in use.

        While they are held, no other process works in this pool.
        """
        held: list[Slot] = []
        names = {path.stem for end in ("lock", "d") for path in self.folder.glob(f"*.{end}")}
        for name in sorted(names):
            try:
                held.append(self.acquire_named(name))
            except SlotBusyError:
                for slot in held:
                    slot.release()
                raise
        return held

    def rescue_all(
        self, rescue: Rescue, failed: Callable[[Slot, GitmillError], None], *, dead: Collection[str]
    ) -> None:
        """Pass the work of killed processes in idle slots to `rescue`, and its errors to `failed`.

        Wait for slots whose holders are `dead`: their remaining processes are about to end.
        """
        patience = time.monotonic() + PATIENCE
        for side in sorted(self.folder.glob("build-*.d")):
            holder, _ = holder_of(side)
            slot = self._try(side.stem) if holder else None
            while slot is None and holder in dead and time.monotonic() < patience:
                time.sleep(0.01)
                slot = self._try(side.stem)
            if slot is None:
                continue
            try:
                slot.rescue(rescue)
            except GitmillError as error:  # the other slots can still be saved
                failed(slot, error)
            finally:
                slot.release()

    def drop_scratch(self, *, dead: Collection[str], everywhere: bool) -> None:
        """Remove the scratch files of `dead` holders, or in all idle slots `everywhere`.

        It takes no space on the disk. Slots of dead holders are waited for, as in `rescue_all`.
        """
        patience = time.monotonic() + PATIENCE
        for side in sorted((*self.folder.glob("build-*.d"), *self.folder.glob("clean-*.d"))):
            of_dead = holder_of(side)[0] in dead
            slot = self._try(side.stem) if of_dead or everywhere else None
            while slot is None and of_dead and time.monotonic() < patience:
                time.sleep(0.01)
                slot = self._try(side.stem)
            if slot is not None:
                slot.drop_scratch()
                slot.release()

    def leftover_entries(self) -> list[Path]:
        """Return git's entries for worktrees of this pool that are missing or half made."""
        return [entry for entry, path in entries(self._common) if self._is_leftover(entry, path)]

    def drop_leftover_entries(self) -> list[str]:
        """Remove git's entries for worktrees that are missing or half made; return their names.

        A worktree that another process is just making is left alone.
        """
        dropped = []
        for entry, path in entries(self._common):
            slot = self._try(path.name) if self._is_leftover(entry, path) else None
            if slot is None:
                continue
            if self._is_leftover(entry, path):
                slot.discard()
                dropped.append(entry.name)
            slot.release()
        return dropped

    def _is_leftover(self, entry: Path, path: Path) -> bool:
        # Git keeps an entry locked while it makes the worktree.
        ours = path.parent == self.folder.resolve()
        return ours and (not path.exists() or (entry / "locked").exists())
