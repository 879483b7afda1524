"""Verify what a history records of its targets: their line, policies read there, commits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from gitmill.attempts.stage_types import all_types
from gitmill.core.plans.plan import FrozenPlan
from gitmill.errors import (
    BadConfigError,
    BadDocumentError,
    CannotCompileError,
    GitFailedError,
    MissingObjectError,
)
from gitmill.git.objects import read_commit
from gitmill.mill import Mill
from gitmill.plans.frozen import compile_at, read_plan
from gitmill.store.audit.replayed import Landed
from gitmill.store.audit.report import AuditReport, PolicyRead
from gitmill.workspace.work import patch_of

_ABSENT = (MissingObjectError, GitFailedError)


@dataclass
class Target:
    """A branch that work landed on, as this clone has it.

    Commits below `first` are looked at only when they are asked for: a history can be long, and
    gitmill's part of it short.
    """

    mill: Mill
    ref: str
    first: str = ""

    @cached_property
    def found(self) -> str:
        """The ref of the branch, or of a remote's copy of it; empty if there is neither."""
        backend, name = self.mill.store.backend, self.ref.removeprefix("refs/heads/")
        copies = (f"refs/remotes/{remote}/{name}" for remote in self.mill.repository.remotes)
        return next((ref for ref in (self.ref, *copies) if name and backend.ref(ref)), "")

    @cached_property
    def named(self) -> Mapping[str, tuple[str, ...]]:
        """By commit from `first` on, the items that it names in its trailers."""
        return {oid: tuple(filter(None, names.split(","))) for oid, _, names in self._log}

    def has_on_line(self, oid: str) -> bool:
        """Whether a commit is on the branch's line of first parents."""
        return oid in self._line or oid in self._whole_line

    def has(self, oid: str) -> bool:
        """Whether a commit is on the branch."""
        argv = ("merge-base", "--is-ancestor", oid, self.found)
        return bool(self.found) and self._out(*argv) is not None

    def was_at(self, oid: str) -> bool:
        """Whether the branch was at a commit, as far as its reflog goes."""
        return oid in self._reflog

    @cached_property
    def _log(self) -> list[list[str]]:
        """Commit, parents and named items, newest first, in one call of git."""
        names = "%(trailers:key=Gitmill-Item,valueonly,separator=%x2C)"
        argv = ("log", "--topo-order", f"--format=%H%x00%P%x00{names}", "--no-show-signature")
        newer = [f"^{self.first}^@"] if self.first and _is_there(self.mill, self.first) else []
        out = self._out(*argv, self.found, *newer, "--") if self.found else None
        return [line.split("\0") for line in (out or "").splitlines()]

    @cached_property
    def _line(self) -> frozenset[str]:
        line: set[str] = set()
        at = self._log[0][0] if self._log else ""
        for oid, parents, _ in self._log:
            if oid == at:
                line.add(oid)
                at = parents.partition(" ")[0]
        return frozenset(line)

    @cached_property
    def _whole_line(self) -> frozenset[str]:
        return self._list("rev-list", "--first-parent", self.found)

    @cached_property
    def _reflog(self) -> frozenset[str]:
        return self._list("log", "--walk-reflogs", "--format=%H", self.found, "--")

    def _list(self, *argv: str) -> frozenset[str]:
        return frozenset((self._out(*argv) or "").split()) if self.found else frozenset()

    def _out(self, *argv: str) -> str | None:
        done = self.mill.repository.git.run(*argv, check=False)
        return done.text if done.returncode == 0 else None


def verify_targets(mill: Mill, report: AuditReport) -> None:
    """Verify landings, policies and the commits of each target; add what is wrong to the report."""
    targets = {ref: Target(mill, ref, first) for ref, first in report.targets.items()}
    landings: dict[str, list[Landed]] = defaultdict(list)
    for landing in report.landed:
        landings[landing.target].append(landing)
    for ref in landings:
        targets.setdefault(ref, Target(mill, ref))
    for ref, landed in landings.items():
        _landings(targets[ref], report, landed)
    known = {
        read.plan for read in report.reads if _policy(mill, targets[read.target], report, read)
    }
    for read in report.reads:
        if read.plan and read.plan not in known and not _is_there(mill, read.oid):
            what = f"nothing in this clone gives the plan {read.plan}, read at {read.oid[:10]}"
            report.add_unknown(read.commit, what, read.item.id if read.item else "")
    if not report.unknown:  # a commit that this clone lacks may have landed them
        for target in targets.values():
            _commits(mill, target, report)


def _landings(target: Target, report: AuditReport, landings: list[Landed]) -> None:
    """Report landed commits that are not on the line of their target, except reverted ones."""
    if not target.found:
        what = f"there is no {target.ref or 'target'} in this clone"
        report.add_unknown(landings[0].commit, what)
        return
    for landing in landings:
        oid = landing.candidate
        if target.has_on_line(oid) or oid in report.replayed.reverted:
            continue
        merged = target.has(oid)
        how = "merged into it, and not on its line of first parents" if merged else "not on it"
        what = f"{oid[:10]} landed on {target.ref}, and is {how}"
        report.fault("not-on-target", landing.commit, what, landing.item_id)


def _is_there(mill: Mill, oid: str) -> bool:
    try:
        read_commit(mill.store.backend, oid)
    except _ABSENT:
        return False
    return True


def _policy(mill: Mill, target: Target, report: AuditReport, read: PolicyRead) -> bool:
    """Report a policy that was read where the target never was, and a plan it does not give.

    Return whether it gives the plan that the event brought.
    """
    item, name = read.item.id if read.item else "", read.oid[:10]
    if not _is_there(mill, read.oid):
        what = f"{name}, whose policy {read.event} read, is not in this clone"
        report.notice("wrong-target", read.commit, what, item)
        return False
    if target.found and not target.has_on_line(read.oid) and not target.was_at(read.oid):
        what = f"{read.event} read the policy at {name}, where {target.ref} has not been"
        report.fault("wrong-target", read.commit, what, item)
    return bool(read.plan) and _plan(mill, report, read, item)


def _plan(mill: Mill, report: AuditReport, read: PolicyRead, item: str) -> bool:
    try:
        frozen = read_plan(mill.store.at(read.commit), read.plan)
        # A person can compile the plan of any mode and kind; an item has no choice.
        kind, mode = (read.item.kind, None) if read.item else (frozen.serves, frozen.mode)
        compiled = compile_at(mill, read.oid, all_types(), kind=kind, mode=mode)
    except (BadConfigError, CannotCompileError) as error:
        # Another version may know other agents.
        what = f"this gitmill compiles no plan at {read.oid[:10]}: {error.message}"
        report.notice("frozen-plan", read.commit, what, item)
        return False
    except (BadDocumentError, *_ABSENT):  # the replay has reported it
        return False
    if compiled.hash12 == frozen.hash12:
        return True
    if _without_prompts(compiled) == _without_prompts(frozen):
        what = f"the prompts of {read.plan} are not those that this gitmill has at {read.oid[:10]}"
        report.notice("frozen-plan", read.commit, what, item)
        return True
    what = f"{read.plan} is not the plan that {read.oid[:10]} gives"
    report.fault("frozen-plan", read.commit, what, item)
    return False


def _without_prompts(plan: FrozenPlan) -> FrozenPlan:
    return replace(plan, stages=tuple(replace(stage, prompt="") for stage in plan.stages))


def _commits(mill: Mill, target: Target, report: AuditReport) -> None:
    """Report commits of the target that bear an item's trailer and never landed."""
    landed = report.replayed.landed
    known = {each.candidate for each in landed}
    known |= {item.landing.candidate for item in report.items.unfinished() if item.landing}
    named = ((oid, item) for oid, items in target.named.items() for item in items)
    for oid, item in named:
        if oid in known or item not in report.items:
            continue
        patches = {patch for each in landed if each.item_id == item for patch in each.patches}
        try:
            parents = read_commit(mill.store.backend, oid).parents
            copy = bool(parents) and patch_of(mill, parents[0], oid) in patches
        except _ABSENT as error:
            report.add_unknown(oid, error.message, item)
            continue
        if copy:
            report.notice("not-landed", oid, f"{oid[:10]} is a copy of what {item} landed", item)
        else:
            what = f"{oid[:10]} names {item}, which did not land as this commit"
            report.fault("not-landed", oid, what, item)
