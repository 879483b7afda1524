"""Write a document: the agent's workspace, and the text that the item gets.

Whatever else the agent leaves there is discarded: the loop of a document produces no work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePath

from gitmill import files
from gitmill.agents.base import Report
from gitmill.attempts.ask_agent import ask
from gitmill.attempts.prompts import feedback
from gitmill.attempts.state import AttemptState
from gitmill.core.change import Written
from gitmill.core.product import DOCUMENT_LIMIT, DocumentPayload, document_text
from gitmill.core.runlog import findings_text
from gitmill.core.verdict import Finding, Verdict, VerdictWord
from gitmill.mill import Mill
from gitmill.store import secret_search
from gitmill.workspace import secret_scan
from gitmill.workspace.open_workspace import open_workspace
from gitmill.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Draft:
    """A writing attempt: its report, and the document if it passed."""

    report: Report
    written: Written | None = None


def write_document(mill: Mill, state: AttemptState) -> Draft:
    """Run the author in a clean checkout of the target's tip and read its document.

    A document that cannot be used, or that holds a secret, fails the attempt.
    """
    snapshot = mill.snapshot()
    tip = mill.target_tip(snapshot)
    findings = feedback(snapshot, state.item)
    with open_workspace(
        mill, state.policy, tip, kind="clean", claim=state.claim,
        variables=state.variables, rights=state.rights, stop=state.stop,
    ) as workspace:  # fmt: skip
        text = findings_text(findings) + "\n" if findings else ""
        files.replace(workspace.findings, text.encode("utf-8", "surrogateescape"), mode=0o600)
        report = ask(mill, state, workspace, findings)
        if report.verdict is None or report.verdict.word is not VerdictWord.PASS:
            return Draft(report)
        text, why = _read(workspace, report.verdict.payload)
    secrets = [] if why else secret_scan.without_allowed(mill, secret_search.search(text))
    if secrets:
        why = f"the document holds a secret: {secrets[0].what}"
    if why:
        verdict = Verdict(VerdictWord.FAIL, why, (Finding(why),))
        return Draft(replace(report, verdict=verdict))
    # The store redacts what it writes, and the hash has to be the one of the text that it has.
    body = mill.store.redactor.text(text)
    return Draft(report, Written(base=tip, body=body, builder=state.performer.name))


def _read(workspace: Workspace, payload: DocumentPayload | None) -> tuple[str, str]:
    """Return the document in the form of an item's text, and why it cannot be used."""
    if payload is None:
        return "", "it passed without a document"
    text = payload.text
    if not text.strip():
        name = PurePath(payload.file)
        if name.is_relative_to(workspace.path):
            name = name.relative_to(workspace.path)
        data = files.read_below(workspace.slot.path, str(name), 4 * DOCUMENT_LIMIT)
        if data is None:
            return "", f"its document {payload.file} is not a readable file of the workspace"
        text = data.decode("utf-8", "replace")
    text = document_text(text)
    if not text.strip():
        return "", "its document is empty"
    if len(text) > DOCUMENT_LIMIT:
        return "", f"its document is longer than {DOCUMENT_LIMIT:,} characters"
    return text, ""
