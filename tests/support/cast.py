"""A cast of scripted agents: a repository whose agents are programs, and what they are to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from tests.support.cli import gitmill
from tests.support.repos import Repo, Sandbox

# An agent that behaves: it does what the file of its name says for this call, and counts its calls.
AGENT = """\
import json, os, re, sys, time
from pathlib import Path
folder, name = Path(sys.argv[1]), sys.argv[2]
calls = folder / f"{name}.calls"
number = len(calls.read_text().splitlines()) if calls.exists() else 0
prompt = sys.stdin.read()
(folder / f"{name}.prompt-{number}").write_text(prompt)
with calls.open("a") as out:
    print(os.getcwd(), file=out)
steps = json.loads((folder / f"{name}.json").read_text())
step = steps[min(number, len(steps) - 1)]
for path, text in step.pop("write", {}).items():
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
for path, target in step.pop("link", {}).items():
    os.symlink(target, path)
for path in step.pop("fifo", []):
    os.mkfifo(path)
news = step.pop("news", [])
for line in news:
    print(line if isinstance(line, str) else json.dumps(line), flush=True)
time.sleep(step.pop("sleep", 0))
print(step.pop("error", ""), file=sys.stderr)
if "exit" in step:
    sys.exit(step["exit"])
nonce = re.search("`nonce` is `([^`]+)`", prompt)
if nonce and any(isinstance(line, str) for line in news):
    print("```json", json.dumps(step | {"nonce": nonce[1]}), "```", sep="\\n")
else:
    print(json.dumps(step))
"""


class Cast:
    """A repository whose agents are scripts; `policy` is more of its policy, as tables.

    `loop` has files of the loop `deliver`, `files` any other files of the repository.

    A step of `plays` is a verdict, with `write` (files), `link`, `fifo`, `news` (lines that are printed first),
    `sleep` (seconds), `error` (what goes to standard error) and `exit` (status) beside it.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        loop: Mapping[str, str],
        roles: Mapping[str, str | Sequence[str]],
        policy: str = "",
        *,
        files: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = sandbox.root / "agents"
        self.folder.mkdir()
        (self.folder / "agent.py").write_text(AGENT)
        served = [[a] if isinstance(a, str) else a for a in roles.values()]
        names = sorted({name for names in served for name in names} - {"shell", "rules"})
        lines = ['mode = "ours"', "[checks]", "test = 'test ! -e broken'", "[modes.ours]"]
        lines.append(f"roles = {{{', '.join(f'{r} = {json.dumps(a)}' for r, a in roles.items())}}}")
        for name in names:
            argv = [sys.executable, str(self.folder / "agent.py"), str(self.folder), name]
            lines += [f"[agents.{name}]", f"command = {json.dumps(argv)}"]
        tree: dict = {".gitmill/config.toml": "\n".join([*lines, policy, ""]), "a.txt": "a\n"}
        tree |= dict(files or {})
        tree |= {f".gitmill/loops/deliver/{name}": text for name, text in loop.items()}
        self.repo: Repo = sandbox.repo(files=tree)
        assert gitmill(self.repo.path, "init").code == 0

    def plays(self, name: str, *steps: dict) -> None:
        (self.folder / f"{name}.json").write_text(json.dumps(steps))

    def prompt(self, name: str, number: int) -> str:
        return (self.folder / f"{name}.prompt-{number}").read_text()

    def calls(self, name: str) -> list[str]:
        path = self.folder / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []


PASS = {"verdict": "pass", "summary": "fine"}
