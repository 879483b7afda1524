"""Build and review: the agent's workspace, and the commit made from the tree that it leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gitmill import files
from gitmill.agents.base import Report
from gitmill.attempts.ask_agent import ask
from gitmill.attempts.fixers import run_fixers
from gitmill.attempts.prompts import feedback
from gitmill.attempts.state import AttemptState
from gitmill.core.item import Item
from gitmill.core.runlog import findings_text
from gitmill.core.shown_text import in_message
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Finding, Severity, Verdict, VerdictWord
from gitmill.errors import SetUpError
from gitmill.git import trees
from gitmill.git.differ import Differ
from gitmill.git.objects import Commit, Entry, Objects, write_commit
from gitmill.git.replay import Conflict
from gitmill.mill import Mill
from gitmill.workspace import secret_scan
from gitmill.workspace.open_workspace import open_workspace
from gitmill.workspace.read_tree import taken_tree
from gitmill.workspace.rescue import keep_commit, keep_tree, keep_worktree
from gitmill.workspace.without_work import is_of_work, judge_set_up, set_up_result
from gitmill.workspace.work import conflict_finding, replayed
from gitmill.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Built:
    """A build attempt: the target commit it is based on, its commit, the agent's report.

    `kept` is the ref that holds the commit until it has been recorded.
    """

    base: str
    work: str
    report: Report
    kept: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """The start of a build: the target's tip, the commit to check out, the builder's findings."""

    onto: str
    commit: str
    findings: tuple[Finding, ...] = ()


def start_of(mill: Mill, item: Item) -> Start:
    """Return the start of an item's next build.

    The first build starts from the target's tip, a later one from the work replayed onto the tip.
    After a conflict it starts from the bare tip, with the conflict as a finding.
    """
    snapshot = mill.snapshot()
    tip = mill.target_tip(snapshot)
    findings = feedback(snapshot, item)
    if not item.work or item.bare:
        return Start(tip, tip, findings)
    replay = replayed(mill, item, tip)
    if isinstance(replay, Conflict):
        return Start(tip, tip, (*findings, conflict_finding(replay)))
    return Start(tip, replay.tip, findings)


def build(mill: Mill, state: AttemptState) -> Built:
    """Run the builder in a worktree and commit the tree that it leaves, not its own commits.

    Without a pass the tree goes under a rescue ref. A tree with secrets never becomes a commit:
    only the rest of it is rescued. If the set-up fails with the item's earlier work and not without
    it, the build starts from the target's bare tip, with that as a finding.
    """
    start = start_of(mill, state.item)
    try:
        return _build_from(mill, state, start)
    except SetUpError as error:
        if start.commit == start.onto or not is_of_work(error):
            raise
        if judge_set_up(state.without_work(mill, start.onto), error) is not None:
            raise
        broken = set_up_result(error).finding
        return _build_from(mill, state, Start(start.onto, start.onto, (*start.findings, broken)))


def _build_from(mill: Mill, state: AttemptState, start: Start) -> Built:
    item = state.item
    with open_workspace(
        mill, state.policy, start.commit, kind="build", claim=state.claim, holder=item.id,
        variables=state.variables, rights=state.rights, stop=state.stop,
    ) as workspace:  # fmt: skip
        text = findings_text(start.findings) + "\n" if start.findings else ""
        files.replace(workspace.findings, text.encode("utf-8", "surrogateescape"), mode=0o600)
        report = ask(mill, state, workspace, start.findings)
        if report.verdict is None or report.verdict.word is not VerdictWord.PASS:
            keep_worktree(mill, workspace.slot, item.id, start.commit)
            return Built(start.onto, "", report)
        return _commit_tree(mill, state, workspace, start, report)


def _commit_tree(
    mill: Mill, state: AttemptState, workspace: Workspace, start: Start, report: Report
) -> Built:
    """Commit the tree of a worktree whose builder passed, unless it adds secrets."""
    item, base = state.item, mill.tree_of(start.commit)
    run_fixers(mill, state, workspace, base)
    with taken_tree(
        mill, workspace.slot, base, ignore=state.policy.worktree.ignore, claim=state.claim,
        stop=state.stop,
    ) as taken:  # fmt: skip
        tree = _without_set_up(taken.objects, base, workspace.made, taken.tree)
        scrubbed = secret_scan.scrub(mill, mill.tree_of(start.onto), tree, taken.objects)
        if scrubbed.findings:
            kept = keep_tree(mill, item.id, replace(taken, tree=tree), start.commit)
            return Built(start.onto, "", replace(report, verdict=_refused(scrubbed.findings, kept)))
        tree = taken.objects.admit(base, tree)
        mill.tampered.setdefault(state.claim, []).extend(
            Finding(f"{path} is ignored by git, and was added with `git add -f`", Severity.LOW)
            for path in taken.forced
        )
    summary = report.verdict.summary if report.verdict else ""
    commit = commit_work(mill, item, tree, start.onto, agent=state.performer.name, summary=summary)
    return Built(start.onto, commit, report, keep_commit(mill, item.id, commit))


def _refused(findings: tuple[Finding, ...], kept: str) -> Verdict:
    """Return the verdict on work that adds secrets."""
    rest = [Finding(f"the work without those files is kept as {kept}")] if kept else []
    return Verdict(VerdictWord.FAIL, findings[0].message, (*findings, *rest))


def _without_set_up(objects: Objects, base: str, products: str, tree: str) -> str:
    """Remove from a tree the files that the set-up made and the builder left unchanged."""
    differ = Differ(objects)
    final = {change.path: change.new for change in differ.changes(base, tree)}
    undo: dict[str, Entry | bytes | None] = {
        change.path: change.old
        for change in differ.changes(base, products)
        if change.path in final and final[change.path] == change.new
    }
    return trees.edit(objects, tree, undo) if undo else tree


def commit_work(
    mill: Mill, item: Item, tree: str, base: str, *, agent: str = "", summary: str = ""
) -> str:
    """Make the one commit of a task on its base and return its id."""
    ident = mill.repository.ident(mill.now())
    message = mill.store.redactor.text(landed_message(item, agent=agent, summary=summary))
    return write_commit(mill.store.backend, Commit(tree, (base,), ident, ident, message))


def landed_message(item: Item, *, agent: str, summary: str) -> str:
    """Return the message of the commit that lands: the agent's summary, else the item's text."""
    summary = summary or item.document.body.strip().partition("\n\n")[0]
    trailers = [f"Gitmill-Item: {item.id}"]
    if agent:
        name = f"{agent} (gitmill agent)"
        trailers.append(f"Co-authored-by: {name} <{agent}@agents.gitmill.invalid>")
    paragraph = [in_message(one_line(summary, 500), calls=False), ""] if summary else []
    return "\n".join([in_message(item.title), "", *paragraph, *trailers, ""])


def review(mill: Mill, state: AttemptState) -> Report:
    """Run a reviewer in a clean checkout of exactly the work; files that it writes are discarded.

    Without work, as in a side stage before the first build, it sees the tip of the target.
    """
    commit = state.item.work or mill.target_tip(mill.snapshot())
    with open_workspace(
        mill, state.policy, commit, kind="clean", claim=state.claim,
        variables=state.variables, rights=state.rights, stop=state.stop,
    ) as workspace:  # fmt: skip
        return ask(mill, state, workspace)
