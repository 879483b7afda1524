"""What a model can be told to do: neutral steps, mapped on whatever tools a CLI declares."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.model.asked import Asked


@dataclass(frozen=True)
class Text:
    """An answer in words: the turn ends."""

    text: str


@dataclass(frozen=True)
class Use:
    """An answer that uses a tool; `arguments` is text for a tool that takes free text."""

    tool: str
    arguments: Mapping[str, Any] | str


@dataclass(frozen=True)
class Write:
    """Write a file, by a path in the worktree or an absolute one."""

    path: str
    text: str

    def act(self, asked: Asked) -> Text | Use:
        where = asked.path(self.path)
        for tool, key in (
            ("Write", "file_path"),
            ("write_file", "file_path"),
            ("write", "filePath"),
        ):
            if tool in asked.tools:
                return Use(tool, {key: where, "content": self.text})
        return Shell(f"printf %s {shlex.quote(self.text)} > {shlex.quote(self.path)}").act(asked)


@dataclass(frozen=True)
class Read:
    """Read a file."""

    path: str

    def act(self, asked: Asked) -> Text | Use:
        where = asked.path(self.path)
        for tool, key in (("Read", "file_path"), ("read_file", "file_path"), ("read", "filePath")):
            if tool in asked.tools:
                return Use(tool, {key: where})
        return Shell(f"cat {shlex.quote(self.path)}").act(asked)


@dataclass(frozen=True)
class Shell:
    """Run a shell command; asks for `Bash` where the CLI declares no tool for it."""

    command: str

    def act(self, asked: Asked) -> Text | Use:
        why = {"description": "run it"}
        for tool, key, more in (
            ("Bash", "command", why), ("bash", "command", why), ("exec_command", "cmd", {}),
            ("shell_command", "command", {}), ("run_shell_command", "command", why),
        ):  # fmt: skip
            if tool in asked.tools:
                return Use(tool, {key: self.command, **more})
        if "exec" in asked.tools:  # Codex's code mode: JavaScript that may use the other tools
            told = json.dumps({"cmd": self.command})
            return Use("exec", f"text(JSON.stringify(await tools.exec_command({told})));")
        if "shell" in asked.tools:
            return Use("shell", {"command": ["bash", "-c", self.command]})
        return Use("Bash", {"command": self.command})


@dataclass(frozen=True)
class Call:
    """Use a tool exactly so, whether the CLI declares it or not."""

    tool: str
    arguments: Mapping[str, Any]

    def act(self, asked: Asked) -> Text | Use:
        return Use(self.tool, self.arguments)


@dataclass(frozen=True)
class Say:
    """Say a text; `{nonce}` becomes the nonce of the prompt."""

    text: str

    def act(self, asked: Asked) -> Text | Use:
        return Text(self.text.replace("{nonce}", asked.nonce))


@dataclass(frozen=True)
class Answer:
    """Give a verdict, as a CLI wants it: by its tool, as JSON, or in a fenced block.

    It bears the prompt's nonce unless another is given; `fenced` says that no schema is obeyed. A
    `payload` is part of the verdict of a stage that produces something.
    """

    verdict: str
    summary: str = "Done."
    findings: Sequence[Mapping[str, Any]] = ()
    earlier: Sequence[Mapping[str, Any]] = ()
    nonce: str | None = None
    fenced: bool = False
    payload: Mapping[str, str] | None = None

    def document(self, asked: Asked) -> dict[str, Any]:
        """Return the verdict with every key that the schema wants."""
        blank = {"severity": "medium", "file": "", "line": None, "message": ""}
        return {
            "verdict": self.verdict,
            "summary": self.summary,
            "findings": [{**blank, **finding} for finding in self.findings],
            "evidence": [],
            "earlier": [{"comment": "", **one} for one in self.earlier],
            "nonce": asked.nonce if self.nonce is None else self.nonce,
        } | ({} if self.payload is None else {"payload": dict(self.payload)})

    def act(self, asked: Asked) -> Text | Use:
        document = self.document(asked)
        if "StructuredOutput" in asked.tools and not self.fenced:
            return Use("StructuredOutput", document)
        told = json.dumps(document, ensure_ascii=False)
        if asked.schema is not None and not self.fenced:
            return Text(told)
        return Text(f"I have looked at everything.\n\n```json\n{told}\n```")


@dataclass(frozen=True)
class Fault:
    """A step that fails `times` times (0: always) before the next one is reached."""

    times: int = field(default=0, kw_only=True)


@dataclass(frozen=True)
class Status(Fault):
    """An HTTP error in the words of the dialect, or with a body of its own."""

    code: int
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


@dataclass(frozen=True)
class Raw(Fault):
    """Status 200 with a body that is no answer."""

    body: str = "<html>It works!</html>"
    kind: str = "text/html"


@dataclass(frozen=True)
class Hang(Fault):
    """No answer at all, until the client or the server goes away; `headers` come first if wanted."""

    headers: bool = False


@dataclass(frozen=True)
class Drop(Fault):
    """The connection breaks in the middle of a streamed answer."""


Step = Write | Read | Shell | Call | Say | Answer | Status | Raw | Hang | Drop
