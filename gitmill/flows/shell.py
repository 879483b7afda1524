"""Open a workspace with the work of a task for a person, and throw it away afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from gitmill.core.item import Item
from gitmill.mill import Mill
from gitmill.plans.policy import policy_at
from gitmill.workspace.open_workspace import open_workspace
from gitmill.workspace.stop_token import StopToken
from gitmill.workspace.trust import require_trusted

Opening = Callable[[Item, str], object]


def shell_with(mill: Mill, item_id: str, argv: Sequence[str], opening: Opening) -> int:
    """Run a command, or the user's shell, in a workspace with an item's work; return its status.

    `opening` is called before with the item and the commit: the target's tip if there is no work.
    The workspace is that of a check: set up by the target's policy, confined, and nothing that
    happens in it is kept. Raises `UntrustedError` for commands of the set-up.
    """
    snapshot = mill.snapshot()
    item, tip = snapshot.resolve(item_id), mill.target_tip(snapshot)
    policy = policy_at(mill, tip)
    commands = {key: line for key, line in policy.commands.items() if key.startswith("worktree.")}
    require_trusted(mill, commands)
    commit = item.work or tip
    opening(item, commit)
    with open_workspace(
        mill, policy, commit, kind="clean", claim=f"shell-{mill.new_token()}", stop=StopToken()
    ) as workspace:
        return workspace.attach(argv or (os.environ.get("SHELL") or "/bin/sh",))
