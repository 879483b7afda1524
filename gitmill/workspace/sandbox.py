"""The sandbox around commands that run an agent's code: whether there is one, and its openings.

Without one, agents' own flags and the comparison of the git directory remain, and `doctor`,
`status` and each run log show "not enforced". docs/sandbox.md has the details.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gitmill import files, process
from gitmill.config import Policy
from gitmill.config.values import Enforce, Network
from gitmill.core.plans.plan import PlannedStage
from gitmill.errors import BadConfigError, SandboxMissingError
from gitmill.git.worktrees import Slot
from gitmill.hints import Gitmill, Hint, Shell
from gitmill.mill import Mill
from gitmill.supervision import bubblewrap
from gitmill.supervision.bubblewrap import Bubblewrap, Sandbox
from gitmill.workspace import private_paths

ENFORCED, NOT_ENFORCED, OFF = "bubblewrap", "not enforced", "off"
NOTE = "not-enforced"  # the file from which `status` knows why there is no sandbox
# Messages of programs whose write was refused; git's message gives no reason.
_REFUSAL = (
    rb"(?:Read-only file system|EROFS"
    rb"|unable to create (?:temporary object directory|directory for))"
)
_HAS_REFUSAL = re.compile(_REFUSAL)  # fast; the other pattern runs only on such lines
_REFUSED = re.compile(rb"[^\n\"\\]{0,200}" + _REFUSAL + rb"[^\n\"\\]{0,200}")


def wanted(mill: Mill, policy: Policy) -> Enforce:
    """Return the mode that policy and `git config gitmill.sandbox` agree on.

    The person's setting wins, except that either side may insist on `required`. Raises
    `BadConfigError`.
    """
    own = mill.repository.preferences.get("sandbox", policy.sandbox.enforce.value)
    if own not in list(Enforce):
        raise BadConfigError(
            f"gitmill.sandbox in git's configuration is auto, required or off, not {own}",
            hints=[Hint(Shell("git config gitmill.sandbox auto"))],
        )
    required = policy.sandbox.enforce is Enforce.REQUIRED
    return Enforce.REQUIRED if required else Enforce(own)


def require_sandbox(mill: Mill, policy: Policy) -> Bubblewrap | None:
    """Return the sandbox of this machine, None if it is switched off.

    Raises `SandboxMissingError` when it is required and not available.
    """
    mode = wanted(mill, policy)
    if mode is Enforce.OFF:
        return None
    bwrap = find_sandbox(mill)
    if mode is Enforce.REQUIRED and not bwrap.program:
        raise SandboxMissingError(
            "the sandbox is required and not available on this machine",
            evidence=[bwrap.why],
            hints=HINTS,
        )
    return bwrap


HINTS = (
    Hint(
        "install it with",
        Shell("apt-get install bubblewrap"),
        "or your system's package, then",
        Gitmill("doctor"),
    ),
    Hint("in a container, allow user namespaces; see", Gitmill("explain", "sandbox-missing")),
)


def find_sandbox(mill: Mill) -> Bubblewrap:
    """Return the sandbox of this machine, even if it is switched off."""
    return bubblewrap.find(mill.repository.preferences.get("bubblewrap", ""))


def enforcement(mill: Mill, policy: Policy) -> str:
    """Return the sandbox entry of a run log."""
    bwrap = require_sandbox(mill, policy)
    return OFF if bwrap is None else ENFORCED if bwrap.program else NOT_ENFORCED


def leave_note(mill: Mill, policy: Policy) -> None:
    """Write or remove the note for `status`."""
    bwrap = require_sandbox(mill, policy)
    path = mill.repository.private / NOTE
    with suppress(OSError):
        if bwrap is not None and bwrap.program:
            path.unlink(missing_ok=True)
        else:
            why = "it is switched off" if bwrap is None else bwrap.why
            files.replace(path, why.encode())


def network(policy: Policy, stage: PlannedStage | None, *, model: bool = False) -> bool:
    """Whether commands of a stage have a network; `model`: the agent needs one for its model."""
    own = stage.network if stage else None
    return (own or (Network.ON if model else policy.sandbox.network)) is Network.ON


def sandbox_for(mill: Mill, policy: Policy, slot: Slot, *, network: bool) -> Sandbox | None:
    """Return the sandbox of a worktree, None where there is no sandbox."""
    bwrap = require_sandbox(mill, policy)
    leave_note(mill, policy)
    if bwrap is None or not bwrap.program:
        return None
    pool, common = mill.pool.folder.resolve(), mill.repository.common.resolve()
    blank = pool / "blank"
    blank.touch()
    others = [path for path in pool.parent.glob("*/homes") if path.parent != pool]
    top = mill.repository.top
    return Sandbox(
        program=bwrap.program,
        worktree=slot.path.resolve(),
        blank=blank,
        writable=(slot.tmp, *_named(mill, "writable")),
        visible=(*_tools(), *_link_targets(), *([top] if top else []), *_named(mill, "readable")),
        # The last one holds the agents' output before it is redacted.
        hidden=(*private_paths.paths(), pool, *others, mill.repository.private.resolve()),
        guarded=(common, slot.path / ".git"),
        substitutes=tuple(_without_keys(common / "config", slot.side / "config")),
        network=network,
    )


def reading(mill: Mill, slot: Slot) -> Sandbox | None:
    """Return the sandbox in which git reads the files of a worktree, None where there is none.

    Only the folder of the quarantine is writable, and the store of Git LFS, to which the user's
    filter copies large files.
    """
    bwrap = find_sandbox(mill)
    if not bwrap.program or mill.repository.preferences.get("sandbox") == Enforce.OFF:
        return None
    common, blank = mill.repository.common.resolve(), mill.pool.folder.resolve() / "blank"
    blank.touch()
    return Sandbox(
        program=bwrap.program,
        worktree=slot.path.resolve(),
        blank=blank,
        writable=(slot.side / "reading", common / "lfs"),
        visible=(*_tools(), common),
        hidden=tuple(private_paths.paths()),
        network=False,
    )


def _without_keys(config: Path, copy: Path) -> Iterator[tuple[Path, Path]]:
    """Copy git's configuration without the credentials in it, if it has any.

    The checkout action of GitHub keeps its token there as a header, others have it in a URL.
    """
    data = config.read_bytes()
    clean = private_paths.ADDRESS.sub(rb"\1://", private_paths.HEADER.sub(b"", data))
    if clean != data:
        copy.write_bytes(clean)
        yield config, copy


def _named(mill: Mill, name: str) -> tuple[Path, ...]:
    return tuple(
        Path(value).expanduser() for value in mill.repository.configured(f"gitmill.{name}")
    )


def _link_targets() -> Iterator[Path]:
    """Yield the targets of a home's links: the user's home may be hidden as a whole."""
    return (path for name in private_paths.tools() if (path := process.home() / name).exists())


def _tools() -> tuple[Path, ...]:
    """Return the folders of programs on PATH, which stay visible where their parent is hidden.

    A folder `bin` below /tmp belongs to an environment, which stays visible as a whole.
    """
    names = [*os.environ.get("PATH", "").split(os.pathsep), sys.prefix, sys.base_prefix]
    return tuple(
        dict.fromkeys(_environment_of(Path(name)) for name in names if name.startswith("/"))
    )


def _environment_of(folder: Path) -> Path:
    nested = folder.name in ("bin", "sbin", ".bin") and folder.is_relative_to("/tmp")  # noqa: S108
    return folder.parent if nested and len(folder.parts) > 3 else folder


def refused(output: bytes) -> Iterator[str]:
    """Yield the writes that the sandbox refused, as far as the command's output shows them."""
    lines = (line for line in output.split(b"\n") if _HAS_REFUSAL.search(line))
    seen = dict.fromkeys(text for line in lines for text in _REFUSED.findall(line))
    for text in list(seen)[:5]:
        yield f"the sandbox refused: {text.decode('utf-8', 'replace').strip()}"
