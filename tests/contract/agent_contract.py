"""The contract of agents: what every file of `gitmill/agents/` has to do.

An agent runs for real, with a program in place of its own: it prints the agent's `EXAMPLE` and ends
in some way. An agent without a model runs the program as the script or criterion of its item.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gitmill.agents import base
from gitmill.agents.base import Attempt, ExitKind, Price, Probe, Report, Usage
from gitmill.config.values import Permission
from gitmill.core.verdict import VerdictWord
from gitmill.process import Command, Outcome
from gitmill.supervision.local import LocalEngine

SESSION = "0b5c3b9e-1c7e-4d0a-9d55-3c2f8f1f7a10"
PROMPT = "Carry this out: häßlich → schön.\n\n- `nonce` is `n0nce`.\n"
FOLLOWUP = "Go on.\n\n- `nonce` is `n0nce`.\n"
USED = Usage(1000, 50, 100)
PROGRAM = """\
import json, os, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
step = json.loads((folder / "step.json").read_text())
calls = folder / "calls"
with calls.open("a") as out:
    asked = {"argv": sys.argv[2:], "stdin": sys.stdin.read() if step["reads"] else ""}
    print(json.dumps(asked), file=out)
print("\\n".join(step["lines"]), end="\\n" if step["lines"] else "", flush=True)
(folder / "begun").touch()
time.sleep(step["linger"])
if step["killed"]:
    os.kill(os.getpid(), 9)
sys.exit(step["status"])
"""


@dataclass
class Scene:
    """One agent with a program of the tests; `calls` has the arguments and input of each run."""

    name: str
    folder: Path
    engine: LocalEngine = field(default_factory=lambda: LocalEngine(claim="c0ffee"))
    missing: bool = False

    @property
    def agent(self) -> base.Agent:
        return base.load(self.name)

    @property
    def argv(self) -> list[str]:
        return [sys.executable, str(self.folder / "program.py"), str(self.folder)]

    @property
    def calls(self) -> list[dict[str, Any]]:
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def run(
        self,
        *lines: str,
        status: int = 0,
        linger: float = 0,
        killed: bool = False,
        **more: Any,
    ) -> Report:
        for name in ("work", "scratch", "home"):
            (self.folder / name).mkdir(exist_ok=True)
        for name in ("calls", "begun"):
            (self.folder / name).unlink(missing_ok=True)
        (self.folder / "program.py").write_text(PROGRAM)
        (self.folder / "scratch/findings.md").touch()
        step = {"lines": lines, "status": status, "linger": linger, "killed": killed,
                "reads": self.agent.READS_PROMPT}  # fmt: skip
        (self.folder / "step.json").write_text(json.dumps(step))
        return self.agent.run(self._attempt(**more), self._execute)

    def _attempt(self, **more: Any) -> Attempt:
        roles, line = self.agent.ROLES, " ".join(self.argv)
        values: dict[str, Any] = {
            "item": "t-k3f9x", "title": "A title", "number": 1, "prompt": PROMPT, "nonce": "n0nce",
            "role": "reviewer" if roles & {"reviewer", *base.ANY_ROLE} else min(roles),
            "permission": min(self.agent.PERMISSIONS, key=list(Permission).index),
            "workdir": self.folder / "work", "scratch": self.folder / "scratch",
            "findings": self.folder / "scratch/findings.md", "home": self.folder / "home",
            "env": {"PATH": "/usr/bin:/bin"}, "wall": 20, "idle": 20, "model": "m",
            "script": f"exec {line}", "criteria": (f"$ exec {line}",),
            "settings": {"command": self.argv, "prices": {"m": Price(1, 0.1, 2)._asdict()}},
        }  # fmt: skip
        return Attempt(**(values | more))

    def _execute(self, command: Command) -> Outcome:
        if self.missing:
            command = replace(command, argv=("/no/such/program",))
        elif self.agent.READS_PROMPT and self.argv[1] not in command.argv:
            command = replace(command, argv=("true",))  # what it prepares for its program succeeds
        return self.engine.execute(command)

    def example(self, verdict: str = "pass", nonce: str = "n0nce") -> list[str]:
        """Return the lines of its example, with this verdict as the answer."""
        block = json.dumps({"verdict": verdict, "summary": "Done.", "findings": [], "nonce": nonce})
        words = {"ANSWER": f"I am done.\n\n```json\n{block}\n```\n", "SESSION": SESSION,
                 "DENIED": "curl example.org"}  # fmt: skip

        def filled(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: filled(inner) for key, inner in value.items()}
            if isinstance(value, list | tuple):
                return [filled(inner) for inner in value]
            return words.get(value, value) if isinstance(value, str) else value

        lines = [filled(line) for line in self.agent.EXAMPLE]
        return [line if isinstance(line, str) else json.dumps(line) for line in lines]

    def has(self, word: str) -> bool:
        return word in json.dumps(self.agent.EXAMPLE)


def declares(scene: Scene) -> None:
    """It describes itself, and its probe answers without its program and without an error."""
    agent = scene.agent
    assert agent.__doc__, "it has no docstring"
    assert agent.ROLES, "it serves no role"
    assert {Permission(name) for name in agent.PERMISSIONS}, "it has no permission"
    assert bool(agent.SIGN_IN) == bool(agent.LOGIN), "SIGN_IN and LOGIN belong together"
    assert all(isinstance(price, Price) for price in agent.PRICES.values())
    assert isinstance(agent.probe({"command": ["/no/such/program"]}), Probe)
    if agent.READS_PROMPT:
        assert scene.has("ANSWER"), "its EXAMPLE has no ANSWER"


def ends_in_time(scene: Scene) -> None:
    """At its limits it has timed out, whatever it printed before."""
    honest(scene.run(*scene.example(), linger=60, wall=0.8), scene, ExitKind.TIMED_OUT)
    honest(scene.run(linger=60, idle=0.4), scene, ExitKind.TIMED_OUT)


def is_cancelled(scene: Scene) -> None:
    """A cancel ends it as cancelled, whatever it printed before."""

    def cancel() -> None:
        until = time.monotonic() + 20
        while not (scene.folder / "begun").exists() and time.monotonic() < until:
            time.sleep(0.02)
        scene.engine.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    report = scene.run(*scene.example(), linger=60)
    thread.join()
    honest(report, scene, ExitKind.CANCELLED, always=True)


def is_missing(scene: Scene) -> None:
    """A program that cannot be started is unavailable, which costs no attempt."""
    scene.missing = True
    honest(scene.run(), scene, ExitKind.UNAVAILABLE, always=True)


def crashes(scene: Scene) -> None:
    """Killed, or with another exit status than 0, it has not completed, whatever it printed."""
    honest(scene.run(*scene.example(), killed=True), scene, ExitKind.CRASHED)
    honest(scene.run(*scene.example(), status=3), scene, ExitKind.CRASHED)
    honest(scene.run(status=3), scene, ExitKind.CRASHED)


def needs_a_verdict(scene: Scene) -> None:
    """Without a verdict of this attempt it has not passed; it is asked again at most once."""
    if not scene.agent.READS_PROMPT:
        return
    report = scene.run()
    assert report.exit is not ExitKind.COMPLETED, "it completed without an answer"
    honest(report, scene, report.exit)
    report = scene.run(*scene.example(nonce="foreign"))
    honest(report, scene, ExitKind.GARBLED)
    assert len(scene.calls) <= 2, "it asks again and again"


def completes(scene: Scene) -> None:
    """It gets the whole prompt on standard input, and reports verdict, usage, cost and session."""
    if not scene.agent.READS_PROMPT:
        return
    report = scene.run(*scene.example())
    assert (report.exit, report.problem) == (ExitKind.COMPLETED, "")
    assert report.verdict is not None
    assert report.verdict.word is VerdictWord.PASS
    assert report.usage == USED, f"it reports the usage as {report.usage}"
    assert report.cost is not None, "it reports no cost of a model whose price is known"
    assert report.cost > 0, "it reports no cost of a model whose price is known"
    assert report.session == (SESSION if scene.has("SESSION") else "")
    (call,) = scene.calls
    assert PROMPT.strip() in call["stdin"], "the prompt is not on standard input"
    assert "häßlich" not in " ".join(call["argv"]), "the prompt is an argument"
    other = scene.run(*scene.example("impossible"))
    assert other.verdict is not None
    assert other.verdict.word is VerdictWord.IMPOSSIBLE


def reports_what_is_known(scene: Scene) -> None:
    """An unknown usage is None and an unknown cost is None, not 0."""
    report = scene.run(status=3)
    assert not scene.agent.READS_PROMPT or report.cost is None, "it reports an unknown cost as 0"
    assert report.usage in (Usage(), Usage(None, None, None)), (
        "it reports usage that it cannot know"
    )


def stops_over_budget(scene: Scene) -> None:
    """It asks `spend` with the usage so far, and ends when that returns a reason."""
    if not scene.agent.READS_PROMPT:
        return
    report = scene.run(
        *scene.example(), linger=3,
        spend=lambda usage, _: "1000 are too many" if (usage.input or 0) >= 1000 else "",
    )  # fmt: skip
    honest(report, scene, ExitKind.OVER_BUDGET)
    assert report.problem == "1000 are too many"


def resumes(scene: Scene) -> None:
    """It continues a session with the short prompt; without sessions it gets the whole one."""
    if not scene.agent.READS_PROMPT:
        return
    report = scene.run(*scene.example(), session=SESSION, followup=FOLLOWUP)
    assert report.exit is ExitKind.COMPLETED
    assert report.usage.output is not None
    call = scene.calls[0]
    if scene.has("SESSION"):
        assert SESSION in " ".join(call["argv"]), "its program is not told the session"
        assert FOLLOWUP.strip() in call["stdin"]
        assert "häßlich" not in call["stdin"], "a resumed session gets the whole prompt again"
    else:
        assert PROMPT.strip() in call["stdin"]


def reports_denials(scene: Scene) -> None:
    """It reports each action that it was not permitted."""
    if scene.has("DENIED"):
        (denied,) = scene.run(*scene.example()).denied or ("nothing",)
        assert "curl example.org" in denied, f"it reports {denied} as denied"


def honest(report: Report, scene: Scene, expected: ExitKind, *, always: bool = False) -> None:
    """Require the exit, and never a pass. Without a model, a program's failure is a verdict too."""
    passed = report.verdict is not None and report.verdict.word is VerdictWord.PASS
    assert not passed, f"it passed, with the exit {report.exit.value}"
    if scene.agent.READS_PROMPT or always or report.exit is not ExitKind.COMPLETED:
        assert report.exit is expected, f"it ended as {report.exit.value}, not {expected.value}"
    if report.exit is ExitKind.COMPLETED:
        assert report.verdict is not None, "it completed without a verdict"
    elif report.verdict is not None:
        assert report.verdict.word is VerdictWord.FAIL, f"{report.verdict} of {report.exit.value}"


CLAUSES: tuple[Callable[[Scene], None], ...] = (
    declares, ends_in_time, is_cancelled, is_missing, crashes, needs_a_verdict, completes,
    reports_what_is_known, stops_over_budget, resumes, reports_denials,
)  # fmt: skip
