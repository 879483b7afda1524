"""The mechanical stages: sanity on the diff, checks in a clean checkout of exactly one commit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gitmill.config import Policy
from gitmill.core import sanity_rules
from gitmill.core.check_record import definition_of
from gitmill.core.document import Document
from gitmill.core.excerpt import excerpt
from gitmill.core.item import Item
from gitmill.core.plans.plan import FrozenPlan, PlannedStage
from gitmill.core.verdict import Finding, Severity, Verdict, VerdictWord
from gitmill.git.path_patterns import Patterns
from gitmill.mill import Mill
from gitmill.store import layout, secret_search
from gitmill.store.events import timestamp
from gitmill.workspace import sandbox, secret_scan
from gitmill.workspace.stop_token import StopToken
from gitmill.workspace.submodules import missing_commits
from gitmill.workspace.trust import require_trusted
from gitmill.workspace.workspace import (
    Rights,
    Workspace,
    open_workspace,
    platform_name,
    setup_key,
)

CRITERION_TIMEOUT = 1200.0  # seconds


@dataclass(frozen=True, slots=True)
class Check:
    """A command that must exit 0, and its limit in seconds."""

    name: str
    command: str
    timeout: float
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check on a tree: `status` as of a process, `cached` if it did not run."""

    check: Check
    definition: str
    passed: bool
    status: int
    ended: str
    seconds: float
    cached: bool
    output: str
    flaky: bool = False

    def as_json(self) -> dict[str, object]:
        """Return the form of run logs."""
        record: dict[str, object] = {
            "name": self.check.name,
            "command": self.check.command,
            "definition": self.definition,
            "passed": self.passed,
            "status": self.status,
            "seconds": round(self.seconds, 2),
            "cached": self.cached,
        }
        return record | ({"flaky": True} if self.flaky else {})

    @property
    def finding(self) -> Finding:
        """The finding for the builder of a red check."""
        how = f"exited {self.status}" if self.ended == "exited" else self.ended
        text = f"check {self.check.name} (`{self.check.command}`) {how}\n{self.output}".rstrip()
        return Finding(text, Severity.HIGH)


def checks_of(plan: FrozenPlan, item: Item) -> tuple[Check, ...]:
    """Return the checks of a checks stage: the plan's, or without any the item's criteria."""
    frozen = tuple(Check(c.name, c.command, c.timeout, tuple(c.inputs)) for c in plan.checks)
    return frozen or _criteria(item)


def landing_checks(policy: Policy, item: Item) -> tuple[Check, ...]:
    """Return the checks of a candidate: the target's checks and the item's own criteria."""
    checks = policy_checks(policy)
    known = {check.command for check in checks}
    return (*checks, *(check for check in _criteria(item) if check.command not in known))


def _criteria(item: Item) -> tuple[Check, ...]:
    return tuple(
        Check(f"criterion-{number}", command, CRITERION_TIMEOUT)
        for number, command in enumerate(item.commands, 1)
    )


def policy_checks(policy: Policy) -> tuple[Check, ...]:
    """Return the checks that a policy names."""
    return tuple(
        Check(name, check.command, check.timeout, tuple(check.inputs))
        for name, check in (policy.checks or {}).items()
    )


def check_definition(mill: Mill, policy: Policy, check: Check, commit: str) -> str:
    """Return the definition of a check as 12 digits, see docs/formats.md."""
    setup = setup_key(mill, policy, commit)
    return definition_of(check.command, check.inputs, setup, platform_name())


def run_checks(
    mill: Mill,
    policy: Policy,
    checks: Sequence[Check],
    commit: str,
    *,
    claim: str,
    stop: StopToken,
    again: bool = False,
    stage: PlannedStage | None = None,
) -> list[CheckResult]:
    """Run the checks that have not passed on this commit's tree yet, up to the first red one.

    `again` runs a red check a second time; a pass then counts and is marked flaky.
    """
    tree = mill.tree_of(commit)
    snapshot = mill.snapshot()
    defined = [(check, check_definition(mill, policy, check, commit)) for check in checks]
    known = {d for _, d in defined if snapshot.read(layout.check_path(tree, d)) is not None}
    if all(d in known for _, d in defined):
        return [_cached(check, d) for check, d in defined]
    require_trusted(mill, {f"checks.{check.name}": check.command for check in checks})
    results: list[CheckResult] = []
    rights = Rights(network=sandbox.network(policy, stage))
    with open_workspace(
        mill, policy, commit, kind="clean", claim=claim, rights=rights, stop=stop
    ) as workspace:
        for check, definition in defined:
            if definition in known:
                results.append(_cached(check, definition))
                continue
            if any(not result.cached for result in results):
                # An earlier check may have changed files, which would not land.
                workspace.slot.prepare(commit, keep=policy.worktree.keep)
            result = _run(workspace, check, definition)
            if again and not result.passed and result.ended == "exited":
                workspace.slot.prepare(commit, keep=policy.worktree.keep)
                result = _run(workspace, check, definition)
                result = replace(result, flaky=result.passed)
            results.append(result)
            if not result.passed:
                break
    return results


def _cached(check: Check, definition: str) -> CheckResult:
    return CheckResult(
        check, definition, passed=True, status=0, ended="exited", seconds=0, cached=True, output=""
    )


def _run(workspace: Workspace, check: Check, definition: str) -> CheckResult:
    outcome = workspace.shell(check.command, seconds=check.timeout, name=check.name)
    return CheckResult(
        check, definition, outcome.passed, outcome.status, outcome.ended, outcome.seconds,
        cached=False, output=excerpt(outcome.tail(4000)),
    )  # fmt: skip


def passed_files(
    mill: Mill, policy: Policy, commit: str, results: Iterable[CheckResult]
) -> dict[str, bytes | None]:
    """Return the documents that record new passes on a commit's tree, by path."""
    tree, files = mill.tree_of(commit), dict[str, bytes | None]()
    for result in results:
        if not result.passed or result.cached or result.flaky:
            continue
        fields = {
            "name": result.check.name,
            "command": result.check.command,
            "inputs": list(result.check.inputs) or None,
            "tree": tree,
            "definition": result.definition,
            "setup": setup_key(mill, policy, commit) or None,
            "platform": platform_name(),
            "seconds": round(result.seconds, 2),
            "at": timestamp(mill.now()),
            "by": mill.host,
        }
        path = layout.check_path(tree, result.definition)
        files[path] = Document.new(fields, "").to_bytes()
    return files


def checks_verdict(results: Sequence[CheckResult]) -> Verdict:
    """Return pass when every check passed, else `return` with the output of the red one."""
    red = [result for result in results if not result.passed]
    if red:
        name = red[0].check.name
        return Verdict(VerdictWord.RETURN, f"check {name} failed", tuple(r.finding for r in red))
    return Verdict(VerdictWord.PASS, f"{len(results)} checks passed")


def inspect_change(mill: Mill, plan: FrozenPlan, item: Item, old: str, new: str) -> Verdict:
    """Apply the plan's sanity rules to the change between two commits."""
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
        search=secret_search.search,
        allowed=secret_scan.allowed_now(mill),
    )


def outside_paths(mill: Mill, item: Item, old: str, new: str) -> tuple[str, ...]:
    """Return the changed paths that the item did not declare; none when it declares nothing."""
    if not item.paths:
        return ()
    declared = Patterns(item.paths)
    changes = mill.changes(old, new)
    return tuple(change.path for change in changes if not declared.match(change.path))
