"""Words that no change may add."""

from __future__ import annotations

from pydantic import BaseModel, Field

from gitmill.attempts.state import AttemptState
from gitmill.core.plans.plan import Performer
from gitmill.core.plans.stage_type import StageType
from gitmill.core.verdict import Finding, Verdict, VerdictWord
from gitmill.mill import Mill


class Settings(BaseModel):
    """The words, as written in the file of the stage."""

    words: tuple[str, ...] = Field(examples=["[gaudy, garish]"])


TYPE = StageType(
    performer=Performer.GITMILL,
    verdicts=(VerdictWord.PASS, VerdictWord.RETURN),
    keys=frozenset({"attempts"}),
    settings=Settings,
)


def run(mill: Mill, state: AttemptState) -> Verdict:
    """Return a change that adds one of the words."""
    words = Settings.model_validate(state.stage.settings).words
    findings = []
    for change in mill.changes(state.base, state.work):
        text = mill.store.backend.read(change.new.oid)[1].decode("utf-8", "replace")
        findings += [Finding(f"it has {word}", file=change.path) for word in words if word in text]
    if findings:
        return Verdict(VerdictWord.RETURN, findings[0].message, tuple(findings))
    return Verdict(VerdictWord.PASS, "none of the words")
