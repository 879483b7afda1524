"""Mechanical rules on a change: what no reviewer should have to look for."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gitmill.core.frozen import PlannedSanity
from gitmill.core.redact import has_secret
from gitmill.core.verdict import Finding, Verdict, VerdictWord

_SECRET_FILES = re.compile(
    r"(^|/)(\.env(\.(?!example$|sample$|template$)[^/]*)?|id_(rsa|dsa|ecdsa|ed25519)|[^/]*\.(pem|p12|pfx|key)"
    r"|\.npmrc|\.pypirc|\.netrc|credentials\.json|\.git-credentials)$"
)
_MARKERS = re.compile(r"^(<{7}|>{7}|\|{7})( |$)")
_GITLINK = "160000"
_SYMLINK = "120000"


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """One path of a change with its content before and after; None where there is none."""

    path: str
    old: bytes | None
    new: bytes | None
    old_mode: str = "100644"
    new_mode: str = "100644"

    @property
    def is_binary(self) -> bool:
        """Whether the new content is not text."""
        return b"\0" in (self.new or b"")[:8000]

    def added(self) -> list[tuple[int, str]]:
        """Return the lines, with their numbers, of which there are more than before."""
        have = Counter((self.old or b"").splitlines())
        lines: list[tuple[int, str]] = []
        for number, line in enumerate((self.new or b"").splitlines(), 1):
            if have[line] > 0:
                have[line] -= 1
            else:
                lines.append((number, line.decode("utf-8", "replace")))
        return lines

    def size_of_change(self) -> int:
        """Return how many lines were added or removed."""
        before = Counter((self.old or b"").splitlines())
        after = Counter((self.new or b"").splitlines())
        return ((before - after) + (after - before)).total()


def inspect(
    files: Sequence[ChangedFile],
    rules: PlannedSanity,
    *,
    protected: Callable[[str], bool],
    secrets: Iterable[str] = (),
) -> Verdict:
    """Return pass, `return` with findings, or `ask` when only a person may allow the change."""
    if not files:
        finding = Finding("nothing was changed")
        return Verdict(VerdictWord.RETURN, "nothing was changed", (finding,))
    findings = [*_sizes(files, rules)]
    for file in files:
        findings += _content(file, rules, tuple(secrets))
    if findings:
        return Verdict(VerdictWord.RETURN, findings[0].message, tuple(findings))
    guarded = [file.path for file in files if protected(file.path)]
    links = [file.path for file in files if file.new_mode == _GITLINK != file.old_mode]
    if guarded or links:
        what = f"protected path {guarded[0]}" if guarded else f"{links[0]} is another repository"
        found = tuple(
            Finding("only a person may change this", file=path) for path in guarded + links
        )
        return Verdict(VerdictWord.ASK, f"{what}: a person must allow it", found)
    return Verdict(VerdictWord.PASS, f"{len(files)} files")


def _sizes(files: Sequence[ChangedFile], rules: PlannedSanity) -> Iterable[Finding]:
    if len(files) > rules.max_files:
        yield Finding(f"{len(files)} files changed, at most {rules.max_files} may")
    lines = sum(file.size_of_change() for file in files if not file.is_binary)
    if lines > rules.max_lines:
        yield Finding(f"{lines} lines changed, at most {rules.max_lines} may")


def _content(
    file: ChangedFile, rules: PlannedSanity, secrets: tuple[str, ...]
) -> Iterable[Finding]:
    if file.new is None or file.new_mode == _GITLINK:
        return
    if file.new_mode == _SYMLINK and _leads_out(file.path, _decode(file.new)):
        yield Finding(f"{file.path} is a link that leads out of the repository", file=file.path)
    if file.old is None and _SECRET_FILES.search(file.path):
        yield Finding(f"{file.path} is a kind of file that holds secrets", file=file.path)
    if len(file.new) > rules.max_file_size and len(file.new) > len(file.old or b""):
        yield Finding(
            f"{file.path} has {len(file.new)} bytes, at most {rules.max_file_size} may be added",
            file=file.path,
        )
        return
    if file.is_binary:
        if has_secret(_decode(file.new), secrets) and not has_secret(_decode(file.old), secrets):
            yield Finding(f"{file.path} holds a secret", file=file.path)
        return
    for number, line in file.added():
        for what in _line(line, rules, secrets):
            yield Finding(f"{file.path}:{number} {what}", file=file.path, line=number)


def _leads_out(path: str, target: str) -> bool:
    """Whether a symbolic link at a path leads out of the tree that it is in."""
    if target.startswith("/"):
        return True
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), target)).startswith("..")


def _decode(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "replace")


def _line(line: str, rules: PlannedSanity, secrets: tuple[str, ...]) -> Iterable[str]:
    if _MARKERS.match(line):
        yield "is a conflict marker"
    if has_secret(line, secrets):
        yield "holds a secret"
    for pattern in rules.forbidden_lines:
        if re.search(pattern, line):
            yield f"adds what `{pattern}` forbids"
