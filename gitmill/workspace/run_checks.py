"""Run checks in a clean checkout of exactly one commit, and remember which passed on its tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from gitmill.config import Policy
from gitmill.core.check_record import definition_of, read_check_record
from gitmill.core.document import Document
from gitmill.core.excerpt import excerpt
from gitmill.core.item import Item
from gitmill.core.plans.plan import FrozenPlan, PlannedStage
from gitmill.core.verdict import Finding, Severity, Verdict, VerdictWord
from gitmill.mill import Mill
from gitmill.process import ending
from gitmill.store import layout
from gitmill.store.events import timestamp
from gitmill.store.snapshot import Snapshot
from gitmill.workspace import sandbox
from gitmill.workspace.open_workspace import Rights, open_workspace, shared_identity
from gitmill.workspace.set_up import platform_name, setup_key
from gitmill.workspace.shared_writes import removed
from gitmill.workspace.stop_token import StopToken
from gitmill.workspace.trust import require_trusted
from gitmill.workspace.workspace import Workspace

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
    shared: str = ""  # the identity of what the tree shared with the checkout
    lent: bool = False  # it could use folders that `gitmill.writable` lends to all runs

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
        how = ending(self.ended, self.status)
        text = f"check {self.check.name} (`{self.check.command}`) {how}\n{self.output}".rstrip()
        return Finding(text, Severity.HIGH)


def checks_of(plan: FrozenPlan, item: Item) -> tuple[Check, ...]:
    """Return the checks of a checks stage: the plan's, or without any the item's criteria."""
    frozen = tuple(Check(c.name, c.command, c.timeout, tuple(c.inputs)) for c in plan.checks)
    return frozen or criteria_of(item)


def landing_checks(policy: Policy, item: Item) -> tuple[Check, ...]:
    """Return the checks of a candidate: the target's checks and the item's own criteria."""
    checks = policy_checks(policy)
    known = {check.command for check in checks}
    return (*checks, *(check for check in criteria_of(item) if check.command not in known))


def criteria_of(item: Item) -> tuple[Check, ...]:
    """Return the command criteria of an item as checks."""
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


def check_definition(
    mill: Mill, policy: Policy, check: Check, commit: str, *, shared: str = ""
) -> str:
    """Return the definition of a check as 12 digits, see docs/formats.md.

    `shared` is the identity of what the tree shares with the checkout.
    """
    setup = setup_key(mill, policy, commit)
    return definition_of(check.command, check.inputs, setup, platform_name(policy), shared)


@dataclass(frozen=True)
class Passes:
    """The passes recorded for a commit's tree that count here and now.

    A pass of a tree that shared nothing counts everywhere, another one only while what it shared is
    as it was. One that could use folders lent to all runs never counts again, unless `lent`.
    """

    mill: Mill
    policy: Policy
    commit: str
    lent: bool = False

    @cached_property
    def _shared(self) -> str:
        return shared_identity(self.mill, self.policy, self.commit)

    @cached_property
    def _snapshot(self) -> Snapshot:
        return self.mill.snapshot()

    def of(self, check: Check) -> str:
        """Return the definition of a check's pass, empty if there is none."""
        tree = self.mill.tree_of(self.commit)
        for shared in ("", self._shared):
            known = check_definition(self.mill, self.policy, check, self.commit, shared=shared)
            path = layout.check_path(tree, known)
            data = self._snapshot.read(path)
            if data is None:
                continue
            if self.lent or not read_check_record(Document.from_bytes(data, path)).lent:
                return known
        return ""


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

    `again` runs a red check a second time; a pass then counts and is marked flaky. All run again,
    sharing nothing, after one that could not remove a folder shared with the checkout. Raises
    `DependenciesChangedError` if what the tree shares changed during a check.
    """
    passes = Passes(mill, policy, commit)
    known = {check.name: passes.of(check) for check in checks}
    if all(known.values()):
        return [_cached(check, known[check.name]) for check in checks]
    require_trusted(mill, {f"checks.{check.name}": check.command for check in checks})
    rights = Rights(network=sandbox.network(policy, stage))
    opened = partial(open_workspace, mill, policy, commit, kind="clean", claim=claim, stop=stop)
    try:
        with opened(rights=rights) as workspace:
            return _run_all(workspace, policy, checks, known, again=again)
    except _NeedsItsOwnError:
        with opened(rights=replace(rights, shares=False)) as workspace:
            return _run_all(workspace, policy, checks, known, again=again)


class _NeedsItsOwnError(Exception):
    """A check is red because it could not remove a folder that the tree shares."""


def _run_all(
    workspace: Workspace,
    policy: Policy,
    checks: Sequence[Check],
    known: Mapping[str, str],
    *,
    again: bool,
) -> list[CheckResult]:
    results: list[CheckResult] = []
    for check in checks:
        if known[check.name]:
            results.append(_cached(check, known[check.name]))
            continue
        if any(not result.cached for result in results):
            # An earlier check may have changed files, which would not land.
            workspace.renew()
        result = _run(workspace, policy, check)
        if again and not result.passed and result.ended == "exited":
            workspace.renew()
            result = _run(workspace, policy, check)
            result = replace(result, flaky=result.passed)
        results.append(result)
        if not result.passed:
            break
    return results


def _cached(check: Check, definition: str) -> CheckResult:
    return CheckResult(
        check, definition, passed=True, status=0, ended="exited", seconds=0, cached=True, output=""
    )


def _run(workspace: Workspace, policy: Policy, check: Check) -> CheckResult:
    mill, shared = workspace.mill, workspace.sharing
    outcome = workspace.shell(check.command, seconds=check.timeout, name=check.name)
    workspace.require_same_dependencies()
    output, printed = excerpt(outcome.tail(4000)), outcome.stdout + b"\n" + outcome.stderr
    if not outcome.passed:
        if removed(printed, shared.folders):
            raise _NeedsItsOwnError
        refused = workspace.explained(printed, check.command.encode())
        not_shared = (f"not shared: {path}, {why}" for path, why in shared.refused)
        output = "\n".join([output, *refused, *not_shared])
    definition = check_definition(mill, policy, check, workspace.commit, shared=shared.identity)
    return CheckResult(
        check, definition, outcome.passed, outcome.status, outcome.ended, outcome.seconds,
        cached=False, output=output, shared=shared.identity,
        lent=bool(sandbox.lent_by_setting(mill, "writable")),
    )  # fmt: skip


def passed_files(
    mill: Mill, policy: Policy, commit: str, results: Iterable[CheckResult]
) -> dict[str, bytes | None]:
    """Return the documents that record new passes on a commit's tree, by path."""
    tree, files, snapshot = mill.tree_of(commit), dict[str, bytes | None](), mill.snapshot()
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
            "platform": platform_name(policy),
            "shared": result.shared or None,
            "lent": result.lent or None,
            "seconds": round(result.seconds, 2),
            "at": timestamp(mill.now()),
            "by": mill.host,
        }
        path = layout.check_path(tree, result.definition)
        if snapshot.read(path) is not None:
            continue  # a record never changes
        files[path] = Document.new(fields, "").to_bytes()
    return files


def checks_verdict(results: Sequence[CheckResult]) -> Verdict:
    """Return pass when every check passed, else `return` with the output of the red one."""
    red = [result for result in results if not result.passed]
    if red:
        name = red[0].check.name
        return Verdict(VerdictWord.RETURN, f"check {name} failed", tuple(r.finding for r in red))
    return Verdict(VerdictWord.PASS, f"{len(results)} checks passed")
