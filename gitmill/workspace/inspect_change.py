"""Sanity on the change between two commits: its declared paths, its submodules and the rules."""

from __future__ import annotations

from collections.abc import Collection

from gitmill.core import sanity_rules
from gitmill.core.item import Item
from gitmill.core.plans.plan import FrozenPlan
from gitmill.core.sanity_rules import Search, TreeNames
from gitmill.core.verdict import Finding, Verdict, VerdictWord
from gitmill.git import trees
from gitmill.git.objects import TREE, Entry
from gitmill.git.path_patterns import DeclaredPaths, Patterns
from gitmill.mill import Mill
from gitmill.store import secret_search
from gitmill.workspace import secret_scan
from gitmill.workspace.submodules import missing_commits


def inspect_change(
    mill: Mill,
    plan: FrozenPlan,
    item: Item,
    old: str,
    new: str,
    *,
    search: Search = secret_search.search,
) -> Verdict:
    """Apply the plan's sanity rules to the change between two commits; `search` finds secrets."""
    inputs = [path for check in plan.checks for path in check.inputs]
    protected = Patterns([*plan.sanity.protected, *inputs])
    outside = outside_paths(mill, item, old, new)
    if outside:
        findings = tuple(
            Finding(f"{path} is outside of the declared paths", file=path) for path in outside
        )
        return Verdict(VerdictWord.RETURN, findings[0].message, findings)
    changes = mill.changes(old, new)
    if lost := missing_commits(mill, new, changes):
        return Verdict(VerdictWord.RETURN, lost[0].message, tuple(lost))
    return sanity_rules.inspect(
        secret_scan.changed_files(mill.store.backend, changes),
        plan.sanity,
        protected=protected.match,
        search=search,
        names=tree_names(mill, old, new),
        item_id=item.id,
        allowed=secret_scan.allowed_now(mill),
    )


def tree_names(mill: Mill, old: str, new: str) -> TreeNames:
    """Return the names in the trees of two commits; each folder is read once."""
    backend, before, after = mill.store.backend, mill.tree_of(old), mill.tree_of(new)

    known: dict[tuple[str, str], Collection[str]] = {}

    def names(tree: str, folder: str) -> Collection[str]:
        if (tree, folder) not in known:
            entry = trees.find(backend, tree, folder) if folder else Entry("", TREE, tree)
            is_folder = entry and entry.mode == TREE
            known[tree, folder] = trees.entries(backend, entry.oid) if entry and is_folder else {}
        return known[tree, folder]

    return TreeNames(
        lambda folder: names(before, folder),
        lambda folder: names(after, folder),
        lambda: (path for path, _ in trees.walk(backend, before)),
    )


def outside_paths(mill: Mill, item: Item, old: str, new: str) -> tuple[str, ...]:
    """Return the changed paths that the item did not declare; none when it declares nothing."""
    if not item.paths:
        return ()
    declared = DeclaredPaths(item.paths)
    changes = mill.changes(old, new)
    return tuple(change.path for change in changes if not declared.match(change.path))
