"""Mechanical rules for a change, so that no reviewer has to check them."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gitmill.config.values import FORBIDDEN_LINES
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
# Names that Windows cannot hold: devices, some characters, a dot or space at the end.
_NOT_ON_WINDOWS = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|com[1-9¹²³]|lpt[1-9¹²³])( *[.:].*)?"
    r"|.*[<>:\"\\|?*].*|.*[. ]",
    re.IGNORECASE | re.DOTALL,
)
_REPORTED = 20  # secrets reported per file; the file is refused as a whole
_LABELS = {pattern: label for label, pattern in FORBIDDEN_LINES.items()}
_UNITS = (("GB", 10**9), ("MB", 10**6), ("KB", 10**3))

Search = Callable[[str], Iterable[Secret]]


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """One path of a change with its old and new content; None if the file does not exist."""

    path: str
    old: bytes | None
    new: bytes | None
    old_mode: str = "100644"
    new_mode: str = "100644"

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes of the file before and after, as far as it exists."""
        before = () if self.old is None else (self.old_mode,)
        return before if self.new is None else (*before, self.new_mode)

    @property
    def is_binary(self) -> bool:
        """Whether the new content is not text."""
        return b"\0" in (self.new or b"")[:8000]

    def added(self) -> list[tuple[int, str]]:
        """Return the added lines with their numbers; a moved line is not an added one."""
        unmatched = Counter((self.old or b"").splitlines())
        lines: list[tuple[int, str]] = []
        for number, line in enumerate((self.new or b"").splitlines(), 1):
            if unmatched[line] > 0:
                unmatched[line] -= 1
            else:
                lines.append((number, line.decode("utf-8", "replace")))
        return lines

    def texts(self, *, old: bool = False) -> tuple[str, ...]:
        """Return the content as text; for a binary, its pieces of text, also in UTF-16."""
        data = (self.old if old else self.new) or b""
        data = b"" if (self.old_mode if old else self.new_mode) == _GITLINK else data
        parts = [data]
        if b"\0" in data:
            parts = [_CONTROL.sub(b"\n", data), data.replace(b"\0", b"")]
        return tuple(part.decode("utf-8", "replace").replace("\r\n", "\n") for part in parts)

    def size_of_change(self) -> int:
        """Return the number of lines added or removed."""
        before = Counter((self.old or b"").splitlines())
        after = Counter((self.new or b"").splitlines())
        return ((before - after) + (after - before)).total()


def secrets_in(
    files: Sequence[ChangedFile], search: Search, allowed: Iterable[str] = ()
) -> dict[str, list[Finding]]:
    """Return findings by path for the secrets, and the files meant for secrets, that a change adds.

    A secret that was in one of these files before is not added, even if it moves. `allowed` has the
    digests of values that are not secrets.
    """
    allow = frozenset(allowed)
    before = [text for file in files for text in file.texts(old=True)]

    values: set[str] | None = None  # of the secrets before, if needed: most changes have none

    def is_new(secret: Secret) -> bool:
        nonlocal values
        if any(secret.is_in(text) for text in before):
            return False
        if values is None:
            values = {each.value for text in before for each in search(text)}
        return secret.value not in values

    by_path: dict[str, list[Finding]] = {}
    for file in files:
        if file.new is None:
            continue
        findings = [*_in_content(file, search, is_new, allow), *_in_name(file, search, allow)]
        if findings:
            by_path[file.path] = findings
    return by_path


def _in_content(
    file: ChangedFile, search: Search, is_new: Callable[[Secret], bool], allow: frozenset[str]
) -> Iterator[Finding]:
    known: list[str] = []
    reported = 0
    for text in file.texts():
        for secret in search(text):
            if secret.digest in allow or any(secret.is_in(other) for other in known):
                continue
            if not is_new(secret):
                continue
            if reported == _REPORTED:
                return
            reported += 1
            known += (secret.value, secret.written)
            at = max(0, text.find(secret.written))
            line = None if file.is_binary else text.count("\n", 0, at) + 1
            where = file.path if line is None else f"{file.path}:{line}"
            yield Finding(f"{where} {secret.described}", Severity.HIGH, file=file.path, line=line)


def _in_name(file: ChangedFile, search: Search, allow: frozenset[str]) -> Iterator[Finding]:
    if file.old is None:
        if _SECRET_FILES.search(file.path):
            message = f"{file.path} is a kind of file that holds secrets"
            yield Finding(message, Severity.HIGH, file=file.path)
        for secret in search(file.path):
            if secret.digest not in allow:
                # The finding does not show the name, which is the secret.
                yield Finding(f"the name of a file {secret.described}", Severity.HIGH)


@dataclass(frozen=True, slots=True)
class TreeNames:
    """The names in the trees before and after a change: `old` and `new` list those of a folder.

    The root is the folder ''. `paths` has all paths before the change; it is asked for rarely.
    """

    old: Callable[[str], Collection[str]]
    new: Callable[[str], Collection[str]]
    paths: Callable[[], Iterable[str]]


def inspect(
    files: Sequence[ChangedFile],
    rules: PlannedSanity,
    *,
    protected: Callable[[str], bool],
    search: Search,
    names: TreeNames,
    item_id: str,
    allowed: Iterable[str] = (),
) -> Verdict:
    """Return pass, `return` with findings, or `ask` if only a person may allow the change.

    `search` finds the secrets in a text; `allowed` is as in `secrets_in`; `names` are those that
    stand beside the changed files, and `item_id` is the one to approve.
    """
    if not files:
        finding = Finding("nothing was changed")
        return Verdict(VerdictWord.RETURN, "nothing was changed", (finding,))
    findings = [*_sizes(files, rules), *_names(files, names)]
    secrets = secrets_in(files, search, allowed)
    for file in files:
        findings += [*secrets.get(file.path, ()), *_content(file, rules)]
    if findings:
        return Verdict(VerdictWord.RETURN, findings[0].message, tuple(findings))
    guarded = [file.path for file in files if protected(file.path)]
    links = [file.path for file in files if _GITLINK in file.modes]
    if guarded or links:
        what = f"protected path {guarded[0]}" if guarded else f"submodule {links[0]}"
        approval = f"needs your approval: `gitmill task approve {item_id}`"
        asked = tuple(Finding(approval, file=path) for path in guarded + links)
        return Verdict(VerdictWord.ASK, f"{what} needs your approval", asked)
    return Verdict(VerdictWord.PASS, f"{len(files)} files")


def _sizes(files: Sequence[ChangedFile], rules: PlannedSanity) -> Iterable[Finding]:
    if len(files) > rules.max_files:
        yield Finding(f"{len(files)} files changed; limit {rules.max_files} (sanity.max_files)")
    lines = sum(file.size_of_change() for file in files if not file.is_binary)
    if lines > rules.max_lines:
        yield Finding(f"{lines} lines changed; limit {rules.max_lines} (sanity.max_lines)")


def _content(file: ChangedFile, rules: PlannedSanity) -> Iterable[Finding]:
    if file.new is None or file.new_mode == _GITLINK:
        return
    if file.new_mode == _SYMLINK and _leads_out(file.path, file.new.decode("utf-8", "replace")):
        yield Finding(f"{file.path} is a link that leads out of the repository", file=file.path)
    if len(file.new) > rules.max_file_size and len(file.new) > len(file.old or b""):
        yield Finding(
            f"{file.path} {_too_large(len(file.new), rules.max_file_size)}", file=file.path
        )
        return
    if file.is_binary:
        return
    for number, line in file.added():
        for what in _line(line, rules):
            yield Finding(f"{file.path}:{number} {what}", file=file.path, line=number)


def _names(files: Iterable[ChangedFile], names: TreeNames) -> Iterator[Finding]:
    """Yield a finding for each new name that other systems cannot hold."""
    added = [file.path for file in files if file.old is None and file.new is not None]
    seen: set[str] = set()
    refused: list[str] = []
    alike: dict[str, dict[str, list[str]]] = {}  # names by folder and folded name
    for path in added:
        parts = path.split("/")
        for n, name in enumerate(parts):
            folder, upto = "/".join(parts[:n]), "/".join(parts[: n + 1])
            if upto in seen or name in names.old(folder):
                continue
            seen.add(upto)
            if folder not in alike:
                alike[folder] = _by_folded(names.new(folder))
            twin = next((o for o in alike[folder].get(_folded(name), ()) if o != name), None)
            if twin is not None:
                text = f"{_shown(upto)} and {_shown(twin)} are the same name on macOS and Windows"
                yield Finding(text, file=path)
            if _NOT_ON_WINDOWS.fullmatch(name):
                refused.append(path)
    # A repository that has such names already is not for Windows.
    if refused and not any(_is_refused(path) for path in names.paths()):
        for path in refused:
            yield Finding(f"{_shown(path)} is a name that Windows cannot hold", file=path)


def _by_folded(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(_folded(name), []).append(name)
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _shown(path: str) -> str:
    """Return a path in which a decomposed accent does not look like a composed one."""
    return path if unicodedata.is_normalized("NFC", path) else ascii(path)


def _is_refused(path: str) -> bool:
    return any(_NOT_ON_WINDOWS.fullmatch(name) for name in path.split("/"))


def _too_large(size: int, limit: int) -> str:
    unit, divisor = next((pair for pair in _UNITS if limit >= pair[1]), ("bytes", 1))
    shown, bound = f"{size / divisor:.1f}", f"{limit / divisor:g}"
    if divisor == 1 or float(shown) <= limit / divisor:  # the rounded size would look permitted
        shown, bound, unit = str(size), str(limit), "bytes"
    return f"is {shown} {unit}; limit {bound} {unit} (sanity.max_file_size)"


def _leads_out(path: str, target: str) -> bool:
    """Whether a symbolic link at a path leads out of its tree."""
    if target.startswith("/"):
        return True
    led = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return led == ".." or led.startswith("../")


def _line(line: str, rules: PlannedSanity) -> Iterable[str]:
    if _MARKERS.match(line):
        yield "is a conflict marker"
    for pattern in rules.forbidden_lines:
        if re.search(pattern, line):
            rule = _LABELS.get(pattern, pattern)
            yield f"adds a forbidden line ({rule}); rule: sanity.forbidden_lines"
