"""The policy: `.gitmill/config.toml` as it is at a commit of the target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gitmill.git import trees
from gitmill.mill import Mill

if TYPE_CHECKING:
    from gitmill.config import Policy

POLICY = ".gitmill/config.toml"


def policy_at(mill: Mill, commit: str) -> Policy:
    """Return the policy at a commit, the defaults if it has none. Raises `BadConfigError`."""
    from gitmill.config import Policy, parse_policy  # noqa: PLC0415  (pulls in tomllib)

    data = trees.read_file(mill.store.backend, mill.tree_of(commit), POLICY)
    if data is None:
        return Policy()
    return parse_policy(data.decode("utf-8", "replace"), source=POLICY)


def policy_now(mill: Mill) -> Policy:
    """Return the policy at the tip of the target. Raises `BadConfigError`."""
    return policy_at(mill, mill.target_tip(mill.snapshot()))
