"""The sandbox around commands that run an agent's code: whether there is one, and its openings.

Without one, agents' own flags and the comparison of the git directory remain, and `doctor`,
`status` and each run log show "not enforced". docs/sandbox.md has the details.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gitmill import files, process
from gitmill.config import Policy
from gitmill.config.values import Enforce, Network
from gitmill.core.plans.plan import PlannedStage
from gitmill.errors import BadConfigError, SandboxMissingError
from gitmill.git import private_git
from gitmill.git.private_git import LENT
from gitmill.git.worktrees import Slot
from gitmill.hints import Gitmill, Hint, Shell
from gitmill.mill import Mill
from gitmill.supervision import bubblewrap
from gitmill.supervision.bubblewrap import Bubblewrap, Lent, Sandbox
from gitmill.workspace import environment, private_paths
from gitmill.workspace.mount_point import MountPoint

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
    return bubblewrap.find(mill.repository.preferences.get("bubblewrap", ""), mill.pool.folder)


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


def is_confined(mill: Mill, policy: Policy) -> bool:
    """Whether commands run in a sandbox here; `status` learns why not.

    Raises `SandboxMissingError` when it is required and not available.
    """
    bwrap = require_sandbox(mill, policy)
    leave_note(mill, policy)
    return bwrap is not None and bool(bwrap.program)


def sandbox_for(mill: Mill, slot: Slot, at: MountPoint, *, network: bool) -> Sandbox:
    """Return the sandbox of a worktree on a machine that has one."""
    pool, common = mill.pool.folder.resolve(), mill.repository.common.resolve()
    others = [path for path in pool.parent.glob("*/homes") if path.parent != pool]
    checkout = () if at.covers or at.checkout is None else (at.checkout,)
    return Sandbox(
        program=find_sandbox(mill).program,
        worktree=slot.path.resolve(),
        at=at.path,
        blank=_blank(pool),
        writable=(slot.tmp, *lent_by_setting(mill, "writable")),
        visible=(*_tools(), *_link_targets(), *checkout, *lent_by_setting(mill, "readable")),
        # The git directory also holds the agents' output before it is redacted.
        hidden=(*private_paths.paths(), pool, *others, *at.others, common),
        lent=tuple(_objects(mill)),
        network=network,
    )


def _blank(pool: Path) -> Path:
    blank = pool / "blank"
    blank.touch()
    return blank


def _objects(mill: Mill) -> Iterator[Lent]:
    """Yield the folders in which the private git directory of a worktree finds its objects."""
    common, lent = mill.repository.common.resolve(), mill.pool.folder.resolve() / LENT
    yield Lent(common / "objects", lent / "objects")
    if (common / "lfs/objects").is_dir():
        yield Lent(common / "lfs/objects", lent / "lfs/objects")
    modules = common / "modules"
    for folder, names, _ in os.walk(modules):
        if "objects" in names:
            yield Lent(Path(folder, "objects"), lent / Path(folder, "objects").relative_to(common))
            names[:] = [name for name in names if name == "modules"]


def reading(mill: Mill, slot: Slot) -> Sandbox | None:
    """Return the sandbox in which git reads the files of a worktree, None where there is none.

    Only the folder of the quarantine is writable, and the store of Git LFS, to which the user's
    filter copies large files.
    """
    bwrap = find_sandbox(mill)
    if not bwrap.program or mill.repository.preferences.get("sandbox") == Enforce.OFF:
        return None
    common, formats = mill.repository.common.resolve(), mill.repository.formats
    files = (
        v for name in ("core.attributesfile", "core.excludesfile") for v in formats.get(name, ())
    )
    if any(name.startswith("filter.lfs.") for name in formats):
        (common / "lfs").mkdir(exist_ok=True)  # a sandbox cannot make it
    pool = mill.pool.folder.resolve()
    private_git.lend(common, pool / LENT)
    return Sandbox(
        program=bwrap.program,
        worktree=slot.path.resolve(),
        blank=_blank(pool),
        writable=(slot.side / "reading", common / "lfs"),
        visible=(*_tools(), common, *map(Path, files)),
        hidden=(*private_paths.paths(), pool / LENT),  # folders can be made in it then
        lent=tuple(_objects(mill)),  # git reads the submodules in the worktree
        network=False,
    )


def lent_by_setting(mill: Mill, name: str) -> tuple[Path, ...]:
    """Return the paths of `gitmill.writable` or `gitmill.readable` in git's configuration."""
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


def hidden_sockets(mill: Mill, script: bytes) -> Iterator[str]:
    """Yield the sockets that a failed command named and the sandbox hides, with the way out.

    `script` is the command and its output.
    """
    lent = [path for name in ("writable", "readable") for path in lent_by_setting(mill, name)]
    variables = (os.environ.get(name, "") for name in sorted(private_paths.VARIABLES))
    known = (*map(environment.socket_of, variables), *map(Path, private_paths.SOCKETS))
    for path in dict.fromkeys(path for path in known if path and path.exists()):
        named = os.fsencode(path) in script or b"unix://" + os.fsencode(path) in script
        if named and not any(path.is_relative_to(folder) for folder in lent):
            yield (
                f"the sandbox hides the socket {path}; to lend it to all runs: "
                f"`git config --add gitmill.readable {shlex.quote(str(path))}`"
            )


def hidden_remotes(mill: Mill, output: bytes) -> Iterator[str]:
    """Yield the remotes that a failed git command named and the sandbox hides, with the way out.

    They are folders of this machine: the repository's own remotes, and those of its submodules.
    """
    lent = [path for name in ("writable", "readable") for path in lent_by_setting(mill, name)]
    for path in dict.fromkeys(_local_remotes(mill)):
        hidden = any(path.is_relative_to(folder) for folder in bubblewrap.TMP)
        if not hidden or os.fsencode(path) not in output or not path.exists():
            continue
        if not any(path.is_relative_to(folder) for folder in lent):
            yield (
                f"the sandbox hides the remote {path}; fetch from it in your checkout, or lend it "
                f"to all runs: `git config --add gitmill.readable {shlex.quote(str(path))}`"
            )


def _local_remotes(mill: Mill) -> Iterator[Path]:
    common = mill.repository.common
    for config in (common / "config", *sorted((common / "modules").rglob("config"))):
        argv = ("config", "--file", os.fspath(config), "-z", "--get-regexp", r"^remote\..*\.url$")
        for entry in mill.repository.git.run(*argv, check=False).text.split("\0"):
            address = entry.partition("\n")[2].removeprefix("file://")
            if address.startswith("/"):
                yield Path(address)


def refused(output: bytes) -> Iterator[str]:
    """Yield the writes that the sandbox refused, as far as the command's output shows them."""
    lines = (line for line in output.split(b"\n") if _HAS_REFUSAL.search(line))
    seen = dict.fromkeys(text for line in lines for text in _REFUSED.findall(line))
    for text in list(seen)[:5]:
        yield f"the sandbox refused: {text.decode('utf-8', 'replace').strip()}"
