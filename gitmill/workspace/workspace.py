"""The workspace of a command: a slot of the pool, set up, with an environment that points to it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from gitmill import files, process
from gitmill.core.verdict import Finding, Severity
from gitmill.errors import (
    DependenciesChangedError,
    ProcessFailedError,
    SpoiledWorktreeError,
    UnusableRepositoryError,
)
from gitmill.git import disk, private_git
from gitmill.git.private_git import LENT, Refs
from gitmill.git.worktrees import LAYERS, Slot
from gitmill.hints import Gitmill, Hint, Shell
from gitmill.mill import Mill
from gitmill.shells import CommandShell
from gitmill.store import secret_search
from gitmill.supervision import terminal
from gitmill.supervision.bubblewrap import Lent, Sandbox
from gitmill.supervision.local import LocalEngine
from gitmill.workspace import agent_homes, download_caches, lent_files, sandbox, shared_writes
from gitmill.workspace.environment import VENVS, with_interpreter
from gitmill.workspace.mount_point import MountPoint
from gitmill.workspace.populate import Submodule, place
from gitmill.workspace.shared_folders import Sharing, identity_of
from gitmill.workspace.stop_token import StopToken
from gitmill.workspace.tamper_guard import Guard

_CUT = re.compile(rb"(\n\[\d+ bytes cut\]\n)")  # as `Kept` writes it
_SCRIPT = 1_000_000  # bytes of a script that is searched for the name of a socket
_NO_REMOTE = b"Could not read from remote repository"  # git, of one that it does not see
_TORN = 4096  # bytes of a word that may be half a key
_WORD = re.compile(rb"[^\s\"]{1,4096}")


@dataclass(frozen=True, slots=True)
class Workspace:
    """A prepared worktree, the environment of its commands, and the engine that runs them."""

    mill: Mill
    claim: str
    slot: Slot
    engine: LocalEngine
    env: Mapping[str, str]
    findings: Path
    home: Path
    at: MountPoint
    sandbox: Sandbox | None
    guard: Guard | None  # where the sandbox does not keep code from the repository
    stop: StopToken
    commit: str
    refs: Refs
    made: str  # tree after the set-up; its products are not part of the work
    sharing: Sharing
    submodules: tuple[Submodule, ...]
    checks_shell: CommandShell
    kept: tuple[str, ...] = ()  # the products of the set-up at the top of what git does not track

    @property
    def path(self) -> Path:
        """The worktree as its commands see it."""
        return self.at.path

    @property
    def layers(self) -> Path:
        """The folder of what commands write to folders that others share."""
        return self.slot.side / LAYERS

    def with_home(self, home: Path) -> Workspace:
        """Return this workspace with another home, which may have been used before."""
        env = {**self.env, **agent_homes.environment(home)}
        around = self.sandbox
        if around is not None:
            lent = self._lent_elsewhere(around)
            if sandbox.find_sandbox(self.mill).layers:
                lent += tuple(download_caches.layered(self.mill, home, self.layers))
            around = replace(around, writable=(*around.writable, home), lent=lent)
        return replace(self, home=home, env=env, sandbox=around)

    def _lent_elsewhere(self, around: Sandbox) -> tuple[Lent, ...]:
        return tuple(each for each in around.lent if not each.path.is_relative_to(self.home))

    def with_interpreter(self) -> Workspace:
        """Return this workspace with the tree's own virtual environment active, if it has one."""
        top = {folder.path for folder in self.sharing.folders}
        names = {name for name in VENVS if name in top or (self.slot.path / name / "bin").is_dir()}
        return replace(self, env=with_interpreter(self.env, self.at, names))

    def for_set_up(self, *, on_target: bool) -> Workspace:
        """Return this workspace with a network, whatever its stage allows.

        A set-up `on_target` may fill the download caches.
        """
        around = self.sandbox and replace(self.sandbox, network=True)
        if around is not None and on_target:
            caches = tuple(download_caches.writable(self.mill, self.home))
            around = replace(around, lent=self._lent_elsewhere(around) + caches)
        return replace(self, sandbox=around)

    def renew(self) -> None:
        """Check out the commit again; the products of the set-up and the home stay."""
        with self.stop.interruptible():
            self.slot.prepare(self.commit, keep=self.kept)
        self.own_git()
        self.lend()
        (self.slot.tmp / self.findings.name).touch()

    def lend(self) -> None:
        """Copy what the checkout lends to every tree, and make the places of shared folders.

        Where commands may only read the tree, the sandbox could not make them.
        """
        if self.at.checkout is not None:
            lent_files.lend(self.slot, self.at.checkout)
        for folder in self.sharing.folders:
            place = self.slot.path / folder.path
            if files.is_plain_below(self.slot.path, folder.path) and not place.is_file():
                place.mkdir(parents=True, exist_ok=True)

    def own_git(self) -> None:
        """Give the worktree its own git directory."""
        private_git.make(
            self.slot.path, self.mill.repository.common, self.commit, self.refs,
            index=self.slot.side / "index", lent=self.mill.pool.folder.resolve() / LENT,
            formats=self.mill.repository.formats,
        )  # fmt: skip
        if self.submodules:
            place(self.mill, self.slot, self.submodules)

    def shell(self, script: str, *, seconds: float, name: str = "check") -> process.Outcome:
        """Run a check, or a set-up line, in the worktree. Raises `HiddenFailureError`."""
        argv = self.checks_shell.command(self.slot.tmp, name, script)
        return self.execute(process.Command(argv, self.path, self.env, b"", seconds, seconds))

    def execute(self, command: process.Command) -> process.Outcome:
        """Run a command to its end, or until a stop is requested.

        Its output is redacted before it is shortened. Changes to the repository outside the
        worktree are noticed afterwards and in part undone; in the sandbox, refused writes are
        reported as far as the output shows them. Raises `StorageError` for a command that failed on
        a full disk: neither it nor its output can be trusted then. Raises `SpoiledWorktreeError` if
        an earlier command has removed the worktree.
        """
        with self._confined(command) as wrapped, self.stop.interruptible(self.engine.cancel):
            outcome = self.engine.execute(wrapped)
        outcome = replace(outcome, stdout=_clean(outcome.stdout), stderr=_clean(outcome.stderr))
        if wrapped is not command:
            self._report_refused(command, outcome)
        self._require_end(outcome, confined=wrapped is not command)
        return outcome

    def attach(self, argv: Sequence[str]) -> int:
        """Run a command on the user's terminal in the worktree, and return its exit status."""
        command = process.Command(terminal.taking(argv), self.path, self.env)
        with self._confined(command) as wrapped:
            return terminal.run(
                wrapped.argv, cwd=self.slot.path, env=wrapped.env, pass_fds=self.engine.lock_fds
            )

    @contextmanager
    def _confined(self, command: process.Command) -> Iterator[process.Command]:
        """Yield a command with its limits; the guard compares the repository afterwards."""
        if not (self.slot.path.is_dir() and os.access(self.slot.path, os.X_OK)):
            raise SpoiledWorktreeError(
                f"the attempt removed or locked its worktree {self.slot.path}"
            )
        self._require_checkout()
        agent_homes.prepare(self.mill, self.home)
        self.slot.mark_used()
        try:
            yield self.sandbox.wrap(command) if self.sandbox else command
        finally:
            if self.guard is not None:
                self.guard.check()

    def _require_end(self, outcome: process.Outcome, *, confined: bool) -> None:
        """Raise an error if the machine, and not the command, is why it did not pass."""
        if not outcome.passed:
            disk.require_room([self.slot.side])
            self._require_checkout()
        if outcome.ended == "lost" and confined:  # from a sandbox no command reaches its supervisor
            raise ProcessFailedError(
                "the supervisor of a command was killed",
                evidence=outcome.tail(4).splitlines(),
                hints=[
                    Hint(
                        "if memory ran out, the system's log has a line on it:",
                        Shell("journalctl -k"),
                    ),
                    Hint("continue with", Gitmill("run")),
                ],
            )

    def require_same_dependencies(self) -> None:
        """Raise `DependenciesChangedError` if what the tree shares is not what it was at first."""
        shared = self.sharing
        if identity_of(self.mill, self.path, shared.folders) != shared.identity:
            raise DependenciesChangedError(
                "something was installed in a folder that the tree shares with the checkout, so "
                "what ran meanwhile does not count",
                evidence=[f"{folder.path}  {folder.source}" for folder in shared.folders[:5]],
                hints=[Hint("once that is done,", Gitmill("run"))],
            )

    def _require_checkout(self) -> None:
        if self.at.covers and not self.path.is_dir():
            raise UnusableRepositoryError(
                f"the checkout {self.path} was moved or removed during the run",
                hints=[Hint("start again from where it is:", Gitmill("run"))],
            )

    def _report_refused(self, command: process.Command, outcome: process.Outcome) -> None:
        findings = self.mill.tampered.setdefault(self.claim, [])
        known = {finding.message for finding in findings}
        output = outcome.stdout + b"\n" + outcome.stderr
        messages = list(sandbox.refused(output))
        if command.access != "read-only":  # which no set-up makes writable
            messages += self.explained(output, self._script(command))
        if not outcome.passed:
            messages += sandbox.hidden_sockets(self.mill, output + self._script(command))
            if _NO_REMOTE in output:
                messages += sandbox.hidden_remotes(self.mill, output)
        findings += [Finding(text, Severity.LOW) for text in messages if text not in known]

    def explained(self, output: bytes, script: bytes) -> Iterator[str]:
        """Yield why shared folders refused what a command's output shows, with the way out."""
        layers = sandbox.find_sandbox(self.mill).layers
        return shared_writes.explained(output, script, self.sharing.folders, layers=layers)

    def _script(self, command: process.Command) -> bytes:
        """Return the text of a command, and of a script of gitmill's that it runs.

        The command may have put anything in the place of its script.
        """
        text, last = os.fsencode("\0".join(command.argv)), Path(command.argv[-1])
        if last.is_relative_to(self.slot.tmp):
            name = str(last.relative_to(self.slot.tmp))
            text += files.read_below(self.slot.tmp, name, _SCRIPT) or b""
        return text


def _clean(output: bytes) -> bytes:
    text = _without_torn(output).decode("utf-8", "surrogateescape")
    return secret_search.clean(text).encode("utf-8", "surrogateescape")


def _without_torn(output: bytes) -> bytes:
    """Return output without the two words at each cut: half of a key is not found."""
    first, *rest = _CUT.split(output)
    pieces = [first]
    for mark, part in zip(rest[::2], rest[1::2], strict=True):
        end = pieces[-1][-_TORN:]
        torn = len(end) - 1 - max(end.rfind(each) for each in (b" ", b"\n", b'"'))
        pieces[-1] = pieces[-1][: len(pieces[-1]) - torn]
        word = _WORD.match(part)
        pieces += [mark, part[word.end() if word else 0 :]]
    return b"".join(pieces)
