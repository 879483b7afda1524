"""An agent of the tests that is spoken to like a CLI: a program, its sessions, its verdicts.

Imported as a module of `gitmill.agents` it is the agent `talker`; run as a program it is the CLI. It
does what the steps in `TALKER/NAME.json` say, one a run, and notes what it was asked.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

from gitmill.agents import _turns
from gitmill.agents.base import Attempt, Execute, ExitKind, Probe, Report, Usage
from gitmill.process import Command, Outcome

ROLES = frozenset({"builder", "reviewer"})
PERMISSIONS = frozenset({"read-only", "workspace", "full"})
READS_PROMPT = True
NEEDS = LOGIN = ()
SIGN_IN = ""
KEYS = PROGRAMS = EXAMPLE = ()
PRICES = {}


class Reader:
    """One JSON object a line: text, session and more fields of a turn."""

    def __init__(self) -> None:
        self.said: dict = {}
        self.usage = Usage()
        self.cost: float | None = None

    def line(self, line: bytes) -> str:
        self.said |= json.loads(line)
        self.usage = Usage(**self.said.get("usage", {}))
        self.cost = self.said.get("cost")
        return self.said.get("stop", "")

    def turn(self, outcome: Outcome) -> _turns.CliTurn:
        told = {k: v for k, v in self.said.items() if k in ("text", "session", "forgotten",
                                                            "structured", "problem")}  # fmt: skip
        kind = ExitKind(self.said.get("exit", "completed" if outcome.passed else "crashed"))
        return _turns.CliTurn(exit=kind, usage=self.usage, cost=self.cost, **told)


def run(attempt: Attempt, execute: Execute) -> Report:
    def begin(prompt: str, session: str) -> tuple[Command, Reader]:
        who = attempt.settings.get("name") or attempt.role
        argv = (sys.executable, __file__, str(who), session)
        return attempt.command(argv, stdin=prompt.encode()), Reader()

    return _turns.converse(attempt, execute, begin)


def probe(settings: object) -> Probe:
    return Probe(found=True, detail="talks")


def main() -> None:
    folder, name, session = Path(os.environ["TALKER"]), *sys.argv[1:3]
    prompt = sys.stdin.read()
    number = len(list(folder.glob(f"{name}.asked-*")))
    (folder / f"{name}.asked-{number}").write_text(
        json.dumps({"session": session, "prompt": prompt})
    )
    step = json.loads((folder / f"{name}.json").read_text())[number]
    for path, text in step.pop("write", {}).items():
        Path(path).write_text(text)
    linger = step.pop("linger", 0)
    nonce = re.search(r"`nonce` is `([^`]+)`", prompt)[1]
    if verdict := step.pop("verdict", None):
        block = json.dumps({"nonce": nonce} | verdict)
        step["text"] = f"I am done.\n```json\n{block}\n```\n"
    print(json.dumps({"session": session or f"s-{name}-{number}"} | step), flush=True)
    time.sleep(linger)


if __name__ == "__main__":
    main()
