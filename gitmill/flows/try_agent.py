"""Try an agent: run one small task in a scratch repository."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gitmill import process
from gitmill.agents import base as agents
from gitmill.agents.base import Probe
from gitmill.attempts.attempt import Progress
from gitmill.attempts.cooldown import clear_cooldown
from gitmill.config import AgentPolicy
from gitmill.core.document import Document
from gitmill.core.item import Item
from gitmill.core.lifecycle import Status
from gitmill.errors import AgentMissingError
from gitmill.flows.init import init
from gitmill.flows.run import RunRequest, run
from gitmill.hints import Gitmill, Hint
from gitmill.mill import Mill
from gitmill.people.intake import NewTask, new_task
from gitmill.plans.policy import policy_now
from gitmill.store import layout
from gitmill.workspace.trust import require_trusted, trust

WORD = "hello"
_TASK = NewTask(
    title="Say hello",
    body=f"Make a file `hello.txt` that holds the one word {WORD}. Nothing else is needed.",
    script=f"echo {WORD} > hello.txt",  # what the agent `shell` does
    criteria=[f"$ grep -qix {WORD} hello.txt"],
)


@dataclass
class Trial:
    """The result; `facts` are from the run log, `folder` remains only after a failure."""

    agent: str
    passed: bool
    verdict: str
    exit: str
    summary: str
    seconds: float
    folder: Path | None
    facts: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the result for `--json`."""
        folder = str(self.folder) if self.folder else None
        return {
            "agent": self.agent, "passed": self.passed, "verdict": self.verdict,
            "exit": self.exit, "summary": self.summary, "seconds": self.seconds,
            "folder": folder, **self.facts,
        }  # fmt: skip


def try_agent(
    mill: Mill | None,
    name: str,
    own: AgentPolicy | None,
    report: Callable[[str], None],
    progress: Progress,
) -> Trial:
    """Run the task with the agent's settings in the policy (`own`), at the cost of one answer.

    A pass ends the agent's cool-down in the repository of `mill`, if given. Raises
    `AgentMissingError`, `UntrustedError` for a command that is not trusted on this machine.
    """
    own = own or AgentPolicy()
    if mill is not None and name in policy_now(mill).agents:
        key = f"agents.{name}"
        commands = policy_now(mill).commands
        require_trusted(mill, {key: commands[key]} if key in commands else {})
    trial = _try(name, own, report, progress)
    if trial.passed and mill is not None:
        clear_cooldown(mill, name)
    return trial


def _try(name: str, own: AgentPolicy, report: Callable[[str], None], progress: Progress) -> Trial:
    probe = require_agent(name, own.command)
    folder = Path(tempfile.mkdtemp(prefix="gitmill-try-"))
    report(f"one task for {name} {probe.version}".rstrip() + f" in {folder}")
    mill = _scratch(folder, _policy(name, own))
    item = new_task(mill, _TASK, ready=True)
    run(mill, RunRequest(through="approved"), progress, lambda _: None)
    trial = _result(name, mill, item.id, folder)
    if trial.passed:
        shutil.rmtree(folder, ignore_errors=True)
        trial.folder = None
    return trial


def require_agent(name: str, command: Sequence[str] = ()) -> Probe:
    """Return the probe of an agent. Raises `AgentMissingError` when it is not installed."""
    probe = agents.program(name, command).probe({"command": command})
    if not probe.found:
        raise AgentMissingError(
            f"{name} is not installed: {probe.detail}", hints=[Hint(Gitmill("agent", "list"))]
        )
    return probe


def _policy(name: str, own: AgentPolicy) -> str:
    """Return a policy with the agent as builder and the criterion as reviewer."""
    roles = agents.program(name, own.command).ROLES
    builder = name if roles & {"builder", *agents.ANY_ROLE} else "shell"
    lines = ['mode = "trial"', "[limits]", "attempts = 1", "returns = 1"]
    lines += ['wait = "1s"', "[modes.trial]"]  # a person waits for the result
    lines += [f'roles = {{builder = "{builder}", reviewer = "rules"}}']
    lines += ['gates = {approve = "never"}', f"[agents.{name}]", 'timeout = "5m"', 'idle = "3m"']
    lines += [f"model = {json.dumps(own.model)}"] if own.model else []
    lines += [f"options = {json.dumps(own.options)}"] if own.options else []
    lines += [f"command = {json.dumps(own.command)}"] if own.command else []
    return "\n".join(lines) + "\n"


def _scratch(folder: Path, policy: str) -> Mill:
    project = folder / "project"
    (project / ".gitmill").mkdir(parents=True)
    (project / ".gitmill/config.toml").write_text(policy, "utf-8")
    git = ("git", "-C", str(project))
    process.run((*git, "init", "-q", "-b", "main"))
    for key, value in (
        ("user.name", "gitmill"),
        ("user.email", "try@gitmill.invalid"),
        ("commit.gpgsign", "false"),
        ("gitmill.worktreeRoot", str(folder / "worktrees")),
    ):
        process.run((*git, "config", key, value))
    process.run((*git, "add", "-A"))
    process.run((*git, "commit", "-q", "-m", "Try an agent"))
    mill = Mill.open(project)
    init(mill)
    trust(mill, policy_now(mill).commands.values())  # they come from the user's own repository
    return mill


def _summary(mill: Mill, item: Item) -> str:
    """Return the agent's own summary from the commit; the run log has the one of the checks."""
    if not item.work:
        return ""
    summary = mill.repository.git.out("log", "-1", "--format=%b", item.work).partition("\n\n")[0]
    return "" if summary in _TASK.body or summary.startswith("Gitmill-") else summary


def _result(name: str, mill: Mill, item_id: str, folder: Path) -> Trial:
    """Return the result, from the run log of the build and the status of the task."""
    snapshot = mill.snapshot()
    item = snapshot.item(item_id)
    log = snapshot.run_log(layout.run_path(item_id, 1, "build")) or Document("")
    facts = {key: log.value(key) for key in ("session", "usage", "cost")}
    return Trial(
        agent=name,
        passed=item.status is Status.APPROVED,
        verdict=log.value("verdict", "none"),
        exit=log.value("exit", "none"),
        summary=_summary(mill, item) or log.value("summary") or item.reason,
        seconds=log.value("seconds", 0.0),
        folder=folder,
        facts={key: value for key, value in facts.items() if value is not None},
    )
