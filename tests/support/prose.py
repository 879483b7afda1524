"""The English of the project: its docstrings, comments, strings and pages, and what they avoid.

docs/glossary.md lists the refused phrases; `python -m tests.support.prose` prints every hit.
"""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs/glossary.md"
# They quote what was said, or list what not to say.
UNSEARCHED = {"decisions.md", "changelog.md", GLOSSARY.name}
_HEADING = "## Refused phrases"
_QUOTED = re.compile(r"`[^`\n]*`")


@dataclass(frozen=True)
class Phrase:
    """One refused phrase: an example, what to write instead, and the expression that finds it."""

    example: str
    better: str
    pattern: str

    @property
    def expression(self) -> re.Pattern[str]:
        """The compiled pattern, in which a space stands for any white space."""
        return re.compile(self.pattern.replace(" ", r"\s+"), re.IGNORECASE)


@dataclass(frozen=True)
class Text:
    """One piece of prose and the line of its file on which it begins."""

    path: Path
    line: int
    text: str

    @cached_property
    def prose(self) -> str:
        """The text without what is in backticks, which is code; offsets stay the same."""
        return _QUOTED.sub(lambda quoted: "`" + "_" * (len(quoted[0]) - 2) + "`", self.text)


@dataclass(frozen=True)
class Hit:
    """One place in which a refused phrase is used."""

    path: str
    line: int
    excerpt: str
    phrase: Phrase

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: … {self.excerpt} … (better: {self.phrase.better})"


def phrases() -> tuple[list[Phrase], list[Phrase]]:
    """Return the twins of glossary words, and the riddles."""
    section = GLOSSARY.read_text("utf-8").partition(_HEADING)[2]
    twins, riddles = re.findall(r"^```text\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    return _phrases(twins), _phrases(riddles)


def _phrases(block: str) -> list[Phrase]:
    return [Phrase(*re.split(r" {2,}", line.strip(), maxsplit=2)) for line in block.splitlines()]


def project() -> Iterator[Text]:
    """Yield the prose of the package, of the README and of the pages that are searched."""
    for module in sorted((ROOT / "gitmill").rglob("*.py")):
        yield from of_module(module)
    pages = [*(ROOT / "gitmill").rglob("*.md"), ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in sorted(pages):
        if page.name not in UNSEARCHED:
            yield Text(page, 1, page.read_text("utf-8"))


def of_module(path: Path) -> Iterator[Text]:
    """Yield docstrings, strings and blocks of comments; a value in an f-string is `{}`."""
    yield from (Text(path, line, text) for line, text in _strings(ast.parse(path.read_bytes())))
    yield from (Text(path, line, text) for line, text in _comments(path))


def _strings(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
        yield node.lineno, "".join(map(str, parts))
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from _strings(part.value)
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value
    for child in ast.iter_child_nodes(node):
        yield from _strings(child)


def _comments(path: Path) -> Iterator[tuple[int, str]]:
    """Yield comments; those on consecutive lines are one text."""
    first, lines = 0, list[str]()
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type != tokenize.COMMENT:
                continue
            if lines and token.start[0] != first + len(lines):
                yield first, "\n".join(lines)
                lines = []
            if not lines:
                first = token.start[0]
            lines.append(token.string.lstrip("# "))
    if lines:
        yield first, "\n".join(lines)


def search(texts: list[Text], phrase: Phrase) -> list[Hit]:
    """Return where a phrase is used."""
    hits, expression = [], phrase.expression
    for text in texts:
        for found in expression.finditer(text.prose):
            start, end = max(0, found.start() - 25), found.end() + 25
            excerpt = " ".join(text.text[start:end].split())
            line = text.line + text.prose.count("\n", 0, found.start())
            hits.append(Hit(text.path.relative_to(ROOT).as_posix(), line, excerpt, phrase))
    return hits


def main() -> None:
    """Print every hit, and how many each phrase has."""
    texts = list(project())
    for title, group in zip(("twins", "riddles"), phrases(), strict=True):
        for phrase in group:
            hits = search(texts, phrase)
            print(f"{len(hits):4} {title}: {phrase.example}")
            print(*(f"       {hit}" for hit in hits), sep="\n", end="\n" if hits else "")


if __name__ == "__main__":
    main()
