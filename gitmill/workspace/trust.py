"""Trusted commands: those that a person on this machine has typed, read or approved.

Checks, set-ups, scripts, criteria and agents' command lines come with a repository, from other
people and from trackers. A command runs only if its hash is in a file of this machine, beside the
worktrees of the repository. `GITMILL_TRUST=1` trusts every command, for CI jobs that control them
by other means.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from gitmill.config import Policy
from gitmill.core.item import Item
from gitmill.core.plans.plan import FrozenPlan
from gitmill.errors import UntrustedError
from gitmill.failpoints import chokepoint
from gitmill.files import open_regular, read_regular
from gitmill.hints import Gitmill, Hint
from gitmill.mill import Mill

VARIABLE = "GITMILL_TRUST"


def plan_commands(plan: FrozenPlan) -> dict[str, str]:
    """Return every command that a frozen plan names, by its key in the policy."""
    checks = {f"checks.{check.name}": check.command for check in plan.checks}
    agents = {
        f"agents.{agent.name}": agent.line
        for stage in plan.stages
        for agent in stage.agents
        if agent.line
    }
    return checks | agents


def item_commands(item: Item) -> dict[str, str]:
    """Return the commands of an item: its script and its `$` criteria."""
    script = {f"script of {item.id}": item.script} if item.script.strip() else {}
    numbered = enumerate(item.commands, 1)
    return script | {f"criterion {number} of {item.id}": command for number, command in numbered}


def trust(mill: Mill, commands: Iterable[str]) -> list[str]:
    """Trust commands from now on; return those that were not trusted before.

    Raises `PlantedFileError` if the file that lists them is a link.
    """
    known = _known(mill)
    new = [command for command in dict.fromkeys(commands) if _digest(command) not in known]
    if new:
        path = store_file(mill)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{_digest(command)}\n" for command in new)
        with chokepoint(f"append {path.name}"):
            fd = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            with os.fdopen(fd, "a", encoding="utf-8") as out:
                out.write(text)  # one short append: another process may append at the same time
    return new


def untrusted(mill: Mill, commands: Mapping[str, str]) -> dict[str, str]:
    """Return the commands that are not trusted on this machine, by key."""
    if os.environ.get(VARIABLE) == "1" or not commands:
        return {}
    known = _known(mill)
    return {key: text for key, text in commands.items() if _digest(text) not in known}


def require_trusted(mill: Mill, commands: Mapping[str, str], *, item: str = "") -> None:
    """Raise `UntrustedError`, which shows the commands, unless all of them are trusted."""
    refused = untrusted(mill, commands)
    if not refused:
        return
    count = "a command is" if len(refused) == 1 else f"{len(refused)} commands are"
    shown = [f"{key}: {_shown(command)}" for key, command in refused.items()]
    raise UntrustedError(
        f"{count} not trusted on this machine",
        evidence=shown,
        hints=[
            Hint(
                "read the shown commands, then",
                Gitmill("config", "trust", *([item] if item else [])),
            )
        ],
    )


def require_runnable(
    mill: Mill, item: Item, policy: Policy, plan: FrozenPlan | None = None
) -> None:
    """Raise `UntrustedError` unless all commands of an attempt or a landing are trusted."""
    require_trusted(mill, policy.commands | (plan_commands(plan) if plan else {}))
    require_trusted(mill, item_commands(item), item=item.id)


def _shown(command: str) -> str:
    first, *rest = command.strip().splitlines() or [""]
    return f"{first} … ({len(rest) + 1} lines)" if rest else first


def _digest(command: str) -> str:
    return hashlib.sha256(command.encode("utf-8", "surrogateescape")).hexdigest()


def store_file(mill: Mill) -> Path:
    """Return the file with the digests of the trusted commands, one a line."""
    return mill.pool.folder / "trusted"


def digests(commands: Iterable[str]) -> frozenset[str]:
    """Return the digests of commands, the lines of the file that lists the trusted ones."""
    return frozenset(map(_digest, commands))


def _known(mill: Mill) -> frozenset[str]:
    try:
        return frozenset(read_regular(store_file(mill)).decode("utf-8", "replace").split())
    except FileNotFoundError:
        return frozenset()
