"""The contract of stage types: what every file of `attempts/stages/` has to do."""

from __future__ import annotations

from gitmill.attempts import stage_types
from gitmill.core.item import Item
from gitmill.core.plans.plan import FrozenPlan, Performer
from gitmill.core.runlog import read_log
from gitmill.core.verdict import VerdictWord
from gitmill.flows.compile import stage_types as known_types
from gitmill.flows.init import init
from gitmill.flows.run import RunRequest, run
from gitmill.history.fsck import fsck
from gitmill.mill import Mill
from gitmill.people.decisions import block, unblock
from gitmill.people.intake import NewTask, new_task
from tests.support.items import deliver
from tests.support.repos import Sandbox

SHARED = frozenset({
    "type", "role", "permission", "timeout", "idle", "attempts", "approvals", "distinct_from", "on",
    "when", "optional", "network", "produces",
})  # fmt: skip
SCRIPT = "echo plain > made.txt"


def stage_file(name: str) -> str:
    """Return the file of a stage of this type, with the example of each key of its own."""
    kind = stage_types.load(name).TYPE
    own = kind.settings.model_fields.items() if kind.settings else ()
    lines = [f"type: {name}", *(f"{key}: {(field.examples or [''])[0]}" for key, field in own)]
    if kind.performer is Performer.AGENT:
        return "\n".join(["---", *lines, "role: reviewer", "---", "Review {{ diff }}.", ""])
    lines += ["when: always"] if "when" in kind.keys else []
    return "\n".join(["---", *lines, "---", ""])


def keep(name: str, sandbox: Sandbox) -> Item:
    """Fail unless the type keeps the whole contract; return the item that ran through it."""
    declares(name)
    compiles(name)
    return runs(name, sandbox)


def declares(name: str) -> None:
    """It describes itself, can pass, and its own keys have examples and names of their own."""
    module = stage_types.load(name)
    assert module.__doc__, f"{name} has no docstring"
    assert VerdictWord.PASS in module.TYPE.verdicts, f"{name} can never pass"
    assert module.TYPE.keys <= SHARED, f"{name} names keys that no stage has"
    for key, field in (module.TYPE.settings.model_fields if module.TYPE.settings else {}).items():
        assert key not in SHARED, f"{name} takes the key {key}, which stages share"
        assert field.examples, f"{name} gives no example of its key {key}"


def compiles(name: str) -> None:
    """A stage of this type compiles, has an edge for each verdict, and its plan reads back equal."""
    plan = deliver.__wrapped__(more=(("25-extra.md", stage_file(name)),))
    stage = plan.stage("extra")
    assert {*stage.edges} == {*stage_types.load(name).TYPE.verdicts}
    assert stage.performer is stage_types.load(name).TYPE.performer
    assert (stage.timeout > 0) == (stage.performer is not Performer.PERSON)
    assert FrozenPlan.parse(plan.render()) == plan


def runs(name: str, sandbox: Sandbox) -> Item:
    """It runs with a declared verdict, leaves the work as it was, and `fsck` accepts the history.

    Only a person's decision passes a stage that a person performs.
    """
    mill, item = worked(sandbox, stage_file(name), SCRIPT)
    kind = stage_types.load(name).TYPE
    logs = [read_log(log) for log in mill.snapshot().run_logs(item.id)]
    words = [word for log in logs for stage, word in log.stage_results if stage == "extra"]
    assert {*words} <= {*kind.verdicts, VerdictWord.ASK}, f"{name} gave {words}"
    if kind.performer is Performer.PERSON:
        assert (words, _retried(mill, item)) == ([], "waiting"), f"{name} passed without a person"
    else:
        assert words, f"no stage of type {name} was run"
    changed = [change.path for change in mill.changes(item.base, item.work)]
    assert changed == ["made.txt"], f"{name} changed the work"
    report = fsck(mill).report
    assert report.faults == report.unknown == report.notices == [], report.faults
    return item


def _retried(mill: Mill, item: Item) -> str:
    """Let a blocked item go on at its gate, and return its status after that."""
    block(mill, item.id, "why not")
    unblock(mill, item.id, reset=False)
    run(mill, RunRequest(through="approved"), lambda _: None, lambda _: None)
    return mill.snapshot().item(item.id).status.value


def table() -> str:
    """Return the table of the stage types in docs/loops.md."""
    rows = ["| type | performed by | what happens | keys | verdicts |", "|---|---|---|---|---|"]
    for each in known_types():
        keys, words = (
            ", ".join(f"`{word}`" for word in words) for words in (each.keys, each.verdicts)
        )
        who = {"person": "a person", "agent": "an agent"}.get(each.performer, each.performer)
        rows.append(f"| `{each.name}` | {who} | {each.meaning} | {keys} | {words} |")
    return "\n".join(rows) + "\n"


def worked(sandbox: Sandbox, stage: str, script: str) -> tuple[Mill, Item]:
    """Run a task through the shipped loop with one more stage, as far as it goes."""
    files = {".gitmill/loops/deliver/25-extra.md": stage, "a.txt": "a\n"}
    mill = Mill.open(sandbox.repo(files=files).path)
    init(mill)
    task = NewTask(title="Make it", script=script, criteria=["$ true"])
    item = new_task(mill, task, ready=True)
    run(mill, RunRequest(through="approved"), lambda _: None, lambda _: None)
    return mill, mill.snapshot().item(item.id)
