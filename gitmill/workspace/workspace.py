"""The workspace of a command: a slot of the pool, set up, with an environment that points to it."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from gitmill import process
from gitmill.config import Policy
from gitmill.core.verdict import Finding, Severity
from gitmill.errors import (
    GitmillError,
    OverQuotaError,
    ProcessFailedError,
    SetUpError,
    SpoiledWorktreeError,
)
from gitmill.git import disk
from gitmill.git.trace import TRACE
from gitmill.git.worktree_entries import remove
from gitmill.git.worktrees import Slot
from gitmill.hints import Gitmill, Hint, Shell
from gitmill.mill import Mill
from gitmill.store import secret_search
from gitmill.supervision.bubblewrap import Sandbox
from gitmill.supervision.local import LocalEngine
from gitmill.workspace import agent_homes, private_paths, sandbox
from gitmill.workspace.blame import agents_fault
from gitmill.workspace.read_tree import taken_tree
from gitmill.workspace.rescue import keep_worktree
from gitmill.workspace.stop_token import StopToken
from gitmill.workspace.tamper_guard import Guard, identity
from gitmill.workspace.trust import require_trusted

_CUT = re.compile(rb"(\n\[\d+ bytes cut\]\n)")  # as `Kept` writes it
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
    sandbox: Sandbox | None
    guard: Guard | None  # where the sandbox does not keep code from the repository
    stop: StopToken
    made: str  # tree after the set-up; its products are not part of the work

    def with_home(self, home: Path) -> Workspace:
        """Return this workspace with another home, which may have been used before."""
        sandbox = self.sandbox
        if sandbox is not None:
            sandbox = replace(sandbox, writable=(*sandbox.writable, home))
        return replace(
            self, home=home, env={**self.env, **agent_homes.environment(home)}, sandbox=sandbox
        )

    def with_network(self) -> Workspace:
        """Return this workspace with a network, whatever its stage allows."""
        return replace(self, sandbox=self.sandbox and replace(self.sandbox, network=True))

    def shell(self, script: str, *, seconds: float, name: str = "check") -> process.Outcome:
        """Run a shell script in the worktree; it stops at its first failing line."""
        argv = process.script(self.slot.tmp, name, script)
        return self.execute(process.Command(argv, self.slot.path, self.env, b"", seconds, seconds))

    def execute(self, command: process.Command) -> process.Outcome:
        """Run a command to its end, or until a stop is requested.

        Its output is redacted before it is shortened. Changes to the repository outside the
        worktree are noticed afterwards and in part undone; in the sandbox, refused writes are
        reported as far as the output shows them. Raises `StorageError` for a command that failed on
        a full disk: neither it nor its output can be trusted then. Raises `SpoiledWorktreeError` if
        an earlier command has removed the worktree.
        """
        if not (self.slot.path.is_dir() and os.access(self.slot.path, os.X_OK)):
            raise SpoiledWorktreeError(
                f"the attempt removed or locked its worktree {self.slot.path}"
            )
        agent_homes.prepare(self.mill, self.home)
        self.slot.mark_used()
        wrapped = self.sandbox.wrap(command) if self.sandbox else command
        try:
            with self.stop.interruptible(self.engine.cancel):
                outcome = self.engine.execute(wrapped)
        finally:
            if self.guard is not None:
                self.guard.check()
        outcome = replace(outcome, stdout=_clean(outcome.stdout), stderr=_clean(outcome.stderr))
        if wrapped is not command:
            self._report_refused(outcome)
        self._require_end(outcome, confined=wrapped is not command)
        return outcome

    def _require_end(self, outcome: process.Outcome, *, confined: bool) -> None:
        """Raise an error if the machine, and not the command, is why it did not pass."""
        if not outcome.passed:
            disk.require_room([self.slot.side])
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

    def _report_refused(self, outcome: process.Outcome) -> None:
        findings = self.mill.tampered.setdefault(self.claim, [])
        known = {finding.message for finding in findings}
        refused = sandbox.refused(outcome.stdout + b"\n" + outcome.stderr)
        findings += [Finding(text, Severity.LOW) for text in refused if text not in known]


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


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of a workspace: no limits (`full`), a network.

    Where code can reach the repository, `signed` marks its moves in the reflogs.
    """

    full: bool = False
    network: bool = True
    signed: bool = False


@contextmanager
def open_workspace(
    mill: Mill,
    policy: Policy,
    commit: str,
    *,
    kind: str,
    claim: str,
    holder: str = "",
    variables: Mapping[str, str] | None = None,
    rights: Rights | None = None,
    stop: StopToken,
) -> Iterator[Workspace]:
    """Hold a worktree at a commit, set up by the policy. `kind` is `build` or `clean`.

    Raises `SetUpError` when the set-up fails, `KeyboardInterrupt` once `stop` is requested, and for
    what the code of the attempt did to its folders `SpoiledWorktreeError` or `OverQuotaError`.
    After an exception the tree of a `build` slot goes under a rescue ref; else it counts as
    recorded.
    """
    rights = rights or Rights()
    slot = mill.pool.acquire(kind, lambda *args: keep_worktree(mill, *args))
    try:
        key = setup_key(mill, policy, commit)
        # Without kept paths cleaning the slot removes all products of a set-up.
        same = bool(key and policy.worktree.keep and _stamp(slot) == key)
        with stop.interruptible():
            slot.prepare(commit, holder=holder, keep=policy.worktree.keep if same else ())
        tree = mill.tree_of(commit)
        workspace = _workspace(mill, policy, slot, tree, claim, variables, rights, stop)
        if key and not same:
            _set_up(mill, workspace.with_network(), policy, key)
            remove(slot.tmp)  # an agent must not see its leftovers
            (slot.tmp / workspace.findings.name).touch()
        if key and kind == "build":
            with taken_tree(mill, slot, tree, claim=claim, stop=stop) as products:
                made = products.objects.admit(tree, products.tree)
            workspace = replace(workspace, made=made)
        yield workspace
        slot.clear_holder()
    except BaseException as error:
        fault = _agents_fault(mill, error, slot, holder)
        with suppress(GitmillError, OSError):  # recovery tries again and reports it
            slot.rescue(lambda *args: keep_worktree(mill, *args))
        if fault is not None:
            raise fault from error
        raise
    finally:
        with suppress(GitmillError, OSError):  # the next use of the slot resets it too
            slot.reset_entry(commit)
        slot.release()


def _agents_fault(mill: Mill, error: BaseException, slot: Slot, holder: str) -> GitmillError | None:
    """Return the error to raise instead if the attempt's code caused this one."""
    temporary = [slot.side / "tmp", slot.side / "home"]
    homes = [mill.pool.folder / agent_homes.FOLDER / holder] if holder else []
    fault = agents_fault(error, [slot.path, *temporary, *homes])
    if isinstance(fault, OverQuotaError):
        for folder in temporary:  # room to record the attempt
            remove(folder)
    return fault


def _workspace(
    mill: Mill,
    policy: Policy,
    slot: Slot,
    tree: str,
    claim: str,
    variables: Mapping[str, str] | None,
    rights: Rights,
    stop: StopToken,
) -> Workspace:
    """Return the workspace in a prepared slot, before its set-up."""
    findings, home = slot.tmp / "findings.md", slot.side / "home"
    findings.touch()
    around = sandbox.sandbox_for(mill, policy, slot, network=rights.network)
    env = _environment(policy, slot, around) | dict(variables or {})
    env["GITMILL_FINDINGS"] = str(findings)
    guard = None
    if around is None or rights.full:
        trace = slot.side / "trace"
        trace.write_bytes(b"")
        guard = Guard(mill, claim, trace)
        env |= {TRACE: str(trace)} | (identity(claim) if rights.signed else {})
    engine = LocalEngine(claim=claim, lock_fds=(slot.lock,))
    workspace = Workspace(mill, claim, slot, engine, env, findings, home, around, guard, stop, tree)
    return workspace.with_home(home)


def _stamp(slot: Slot) -> str:
    path = slot.side / "setup"
    return path.read_text() if path.exists() else ""


def _set_up(mill: Mill, workspace: Workspace, policy: Policy, key: str) -> None:
    stamp = workspace.slot.side / "setup"
    stamp.unlink(missing_ok=True)
    numbered = enumerate(policy.worktree.setup, 1)
    require_trusted(mill, {f"worktree.setup.{number}": line for number, line in numbered})
    for number, command in enumerate(policy.worktree.setup):
        outcome = workspace.shell(command, seconds=1800, name=f"setup-{number}")
        if not outcome.passed:
            raise SetUpError(
                f"set-up `{command}` {outcome.ended} with status {outcome.status}",
                evidence=outcome.tail(6).splitlines(),
                hints=[
                    Hint("fix `[worktree] setup` in .gitmill/config.toml, then", Gitmill("run"))
                ],
            )
    stamp.write_text(key)


def setup_key(mill: Mill, policy: Policy, commit: str) -> str:
    """Return the key of a commit's set-up, 16 digits of its inputs; empty without a set-up."""
    if not policy.worktree.setup:
        return ""
    from gitmill.git import trees  # noqa: PLC0415  (only projects with a set-up)
    from gitmill.git.path_patterns import Patterns  # noqa: PLC0415

    digest = hashlib.sha256("\0".join(policy.worktree.setup).encode())
    patterns = Patterns(policy.worktree.lock)
    for path, entry in trees.walk(mill.store.backend, mill.tree_of(commit)):
        if patterns.match(path):
            digest.update(f"\0{path}\0{entry.oid}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def platform_name() -> str:
    """Return the system, machine and interpreter that a check passed on."""
    return f"{platform.system()} {platform.machine()} python {platform.python_version()}"


def _environment(policy: Policy, slot: Slot, around: Sandbox | None) -> dict[str, str]:
    passed = policy.environment.passed
    env = process.scrubbed(
        {
            "TMPDIR": str(slot.tmp),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": _python_path(slot.path),
            **policy.worktree.environment(str(slot.path)),
        },
        keep=passed,
    )
    hidden = (
        private_paths.VARIABLES - set(passed) - set(policy.worktree.env) if around else frozenset()
    )
    return {name: value for name, value in env.items() if name not in hidden}


def _python_path(worktree: Path) -> str:
    """Put this worktree's packages in front of an editable install of the user's checkout.

    `PYTHONPATH` comes before the entries that `.pth` files and import hooks of editable installs
    add. The user's own paths follow, except those into a checkout of a repository.
    """
    ours = [str(worktree / "src")] if (worktree / "src").is_dir() else []
    if any((worktree / name).exists() for name in ("pyproject.toml", "setup.py", "setup.cfg")):
        ours.append(str(worktree))
    theirs = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    return os.pathsep.join([*ours, *(part for part in theirs if not _in_checkout(Path(part)))])


def _in_checkout(path: Path) -> bool:
    return any((folder / ".git").exists() for folder in (path, *path.parents))
