"""Keep secrets out of trees: no commit of an agent's or a person's work holds one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gitmill.core import sanity_rules
from gitmill.core.redaction import Secret
from gitmill.core.verdict import Finding
from gitmill.errors import BadConfigError, MissingObjectError, UnusableRepositoryError
from gitmill.git import trees
from gitmill.git.differ import Differ
from gitmill.git.objects import GITLINK, Entry, Objects
from gitmill.mill import Mill
from gitmill.plans.policy import policy_now
from gitmill.store.secret_search import search


@dataclass(frozen=True, slots=True)
class ScrubbedTree:
    """A tree without the files that add secrets, and the findings in those files."""

    tree: str
    findings: tuple[Finding, ...]


def scrub(mill: Mill, base: str, tree: str, objects: Objects) -> ScrubbedTree:
    """Remove secrets from a tree: files that add one keep their content of the tree `base`.

    `objects` has both trees, and gets the new one.
    """
    changes = list(Differ(objects).changes(base, tree))
    secrets = sanity_rules.secrets_in(changed_files(objects, changes), search, allowed_now(mill))
    undo: dict[str, Entry | bytes | None] = {c.path: c.old for c in changes if c.path in secrets}
    if undo:
        tree = trees.edit(objects, tree, undo)
    return ScrubbedTree(tree, tuple(finding for group in secrets.values() for finding in group))


def allowed_now(mill: Mill) -> tuple[str, ...]:
    """Return the digests that the policy allows at the tip of the target; none if unreadable.

    They do not come from the frozen plan, so that a person can help an item under way.
    """
    try:
        return policy_now(mill).sanity.allow_secrets
    except (BadConfigError, MissingObjectError, UnusableRepositoryError):
        return ()


def without_allowed(mill: Mill, secrets: Iterable[Secret]) -> list[Secret]:
    """Return the secrets whose digests the policy does not allow; without any it is not read."""
    if not (found := list(secrets)):
        return []
    allowed = allowed_now(mill)
    return [secret for secret in found if secret.digest not in allowed]


def changed_files(
    backend: Objects, changes: Iterable[trees.Change]
) -> list[sanity_rules.ChangedFile]:
    """Return changed files with their contents."""

    def content(entry: Entry | None) -> bytes | None:
        if entry is None:
            return None
        return b"" if entry.mode == GITLINK else backend.read(entry.oid)[1]

    return [
        sanity_rules.ChangedFile(
            change.path,
            content(change.old),
            content(change.new),
            change.old.mode if change.old else "",
            change.new.mode if change.new else "",
        )
        for change in changes
    ]
