"""Mechanical rules on a change: what no reviewer should have to look for."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gitmill.core.plans.plan import PlannedSanity
from gitmill.core.redaction import Secret
from gitmill.core.verdict import Finding, Severity, Verdict, VerdictWord

_SECRET_FILES = re.compile(
    r"(^|/)(\.env(\.(?!example$|sample$|template$)[^/]*)?|id_(rsa|dsa|ecdsa|ed25519)|[^/]*\.(pem|p12|pfx|key)"
    r"|\.npmrc|\.pypirc|\.netrc|credentials\.json|\.git-credentials)$"
)
_MARKERS = re.compile(r"^(<{7}|>{7}|\|{7})( |$)")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]+")
_GITLINK = "160000"
_SYMLINK = "120000"
_REPORTED = 20  # secrets of one file that are reported; the file is refused as a whole
_GUESSABLE = 16  # a value below this could be found from its digest

Search = Callable[[str], Iterable[Secret]]


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

    def texts(self, *, old: bool = False) -> tuple[str, ...]:
        """Return the content as text; of a binary, its pieces of text, wide characters too."""
        data = (self.old if old else self.new) or b""
        data = b"" if (self.old_mode if old else self.new_mode) == _GITLINK else data
        parts = [data]
        if b"\0" in data:
            parts = [_CONTROL.sub(b"\n", data), data.replace(b"\0", b"")]
        return tuple(part.decode("utf-8", "replace").replace("\r\n", "\n") for part in parts)

    def size_of_change(self) -> int:
        """Return how many lines were added or removed."""
        before = Counter((self.old or b"").splitlines())
        after = Counter((self.new or b"").splitlines())
        return ((before - after) + (after - before)).total()


def secrets_in(
    files: Sequence[ChangedFile], search: Search, allowed: Iterable[str] = ()
) -> dict[str, list[Finding]]:
    """Return findings for the secrets and the files made for secrets that a change brings, by path.

    What stood in one of these files before is not brought by it, wherever it stands now. `allowed`
    are digests of values that are no secrets.
    """
    allow = frozenset(allowed)
    before = [text for file in files for text in file.texts(old=True)]
    found: dict[str, list[Finding]] = {}
    for file in files:
        if file.new is None:
            continue
        told = [*_in_content(file, search, before, allow), *_in_name(file, search, allow)]
        if told:
            found[file.path] = told
    return found


def _in_content(
    file: ChangedFile, search: Search, before: Sequence[str], allow: frozenset[str]
) -> Iterator[Finding]:
    known: list[str] = []
    for text in file.texts():
        for secret in search(text):
            value = secret.value
            if secret.digest in allow or any(value in other for other in (*before, *known)):
                continue
            if len(known) == _REPORTED:
                return
            known.append(value)
            line = None if file.is_binary else text.count("\n", 0, max(0, text.find(value))) + 1
            where = file.path if line is None else f"{file.path}:{line}"
            yield Finding(f"{where} {_holds(secret)}", Severity.HIGH, file=file.path, line=line)


def _in_name(file: ChangedFile, search: Search, allow: frozenset[str]) -> Iterator[Finding]:
    if file.old is None:
        if _SECRET_FILES.search(file.path):
            message = f"{file.path} is a kind of file that holds secrets"
            yield Finding(message, Severity.HIGH, file=file.path)
        for secret in search(file.path):
            if secret.digest not in allow:
                # The name itself is the secret.
                yield Finding(f"the name of a file {_holds(secret)}", Severity.HIGH)


def _holds(secret: Secret) -> str:
    guessable = secret.guessable or len(secret.value) < _GUESSABLE
    told = "" if guessable else f" (digest {secret.digest})"
    return f"holds a secret: {secret.what}{told}"


def inspect(
    files: Sequence[ChangedFile],
    rules: PlannedSanity,
    *,
    protected: Callable[[str], bool],
    search: Search,
    allowed: Iterable[str] = (),
) -> Verdict:
    """Return pass, `return` with findings, or `ask` when only a person may allow the change.

    `search` finds the secrets in a text; `allowed` as in `secrets_in`.
    """
    if not files:
        finding = Finding("nothing was changed")
        return Verdict(VerdictWord.RETURN, "nothing was changed", (finding,))
    findings = [*_sizes(files, rules)]
    secrets = secrets_in(files, search, allowed)
    for file in files:
        findings += [*secrets.get(file.path, ()), *_content(file, rules)]
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


def _content(file: ChangedFile, rules: PlannedSanity) -> Iterable[Finding]:
    if file.new is None or file.new_mode == _GITLINK:
        return
    if file.new_mode == _SYMLINK and _leads_out(file.path, file.new.decode("utf-8", "replace")):
        yield Finding(f"{file.path} is a link that leads out of the repository", file=file.path)
    if len(file.new) > rules.max_file_size and len(file.new) > len(file.old or b""):
        yield Finding(
            f"{file.path} has {len(file.new)} bytes, at most {rules.max_file_size} may be added",
            file=file.path,
        )
        return
    if file.is_binary:
        return
    for number, line in file.added():
        for what in _line(line, rules):
            yield Finding(f"{file.path}:{number} {what}", file=file.path, line=number)


def _leads_out(path: str, target: str) -> bool:
    """Whether a symbolic link at a path leads out of the tree that it is in."""
    if target.startswith("/"):
        return True
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), target)).startswith("..")


def _line(line: str, rules: PlannedSanity) -> Iterable[str]:
    if _MARKERS.match(line):
        yield "is a conflict marker"
    for pattern in rules.forbidden_lines:
        if re.search(pattern, line):
            yield f"adds what `{pattern}` forbids"
