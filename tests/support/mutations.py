"""Every small forgery of a true history: each field and path of each event, changed in each way.

A mutation changes one commit; where it is carried, later commits keep it as gitmill would.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gitmill.core.document import Document
from tests.support.forge import Forgery, Written, blob

Edit = Callable[[bytes], bytes | None]


@dataclass(frozen=True)
class Mutation:
    """One forgery: of which event, of what in it, how, and whether later commits carry it."""

    event: str
    what: str
    how: str
    forge: Callable[[Forgery], None]

    @property
    def name(self) -> str:
        return f"{self.event}: {self.what}: {self.how}"


def mutations(forgery: Forgery) -> Iterator[Mutation]:
    """Yield all mutations of a history, each for a fresh copy of it."""
    for number, commit in enumerate(forgery.commits):
        if not number:
            continue
        event = commit.trailer("Event")
        if commit.trailer("Undoes"):
            event = f"undo as {event}"
        for what, how, forge in _of_commit(forgery, number, commit):
            yield Mutation(event, what, how, forge)


def forged(forgery: Forgery, mutation: Mutation) -> Forgery:
    """Return a copy of a history with one mutation, not yet written."""
    made = copy.copy(forgery)
    made.commits = copy.deepcopy(forgery.commits)
    mutation.forge(made)
    return made


_Forge = Callable[[Forgery], None]


def _of_commit(forgery: Forgery, number: int, commit: Written) -> Iterator[tuple[str, str, _Forge]]:
    yield from _of_message(forgery, number, commit)
    yield from _of_line(forgery, number, commit)
    for path, data in commit.files.items():
        if data is None:
            continue
        folder = path.partition("/")[0]
        yield folder, "left out", lambda f, path=path: f.commits[number].files.pop(path)
        yield folder, "elsewhere", lambda f, path=path: _move(f.commits[number], path)
        for mode in ("100755", "120000"):
            yield folder, f"mode {mode}", lambda f, p=path, m=mode: _mode(f.commits[number], p, m)
        if path.endswith(".md"):
            yield from _of_document(forgery, number, path)
    for path in ("notes.txt", "tasks/README.txt", "runs/zz/t-zzzzz/0001-build.md", "checks/x"):
        yield "other", f"adds {path}", lambda f, p=path: f.commits[number].files.update({p: b"x\n"})


def _move(commit: Written, path: str) -> None:
    commit.files[f"{path.removesuffix('.md')}x.md"] = commit.files.pop(path)


def _mode(commit: Written, path: str, mode: str) -> None:
    commit.modes[path] = mode


# -- messages and order ----------------------------------------------------------------------------


def _of_message(
    forgery: Forgery, number: int, commit: Written
) -> Iterator[tuple[str, str, _Forge]]:
    for name in re.findall(r"^Gitmill-([\w-]+): ", commit.message, re.MULTILINE):
        value = commit.trailer(name)
        what = f"trailer {name}"
        others = {c.trailer(name) for c in forgery.commits} - {value, ""}
        yield what, "dropped", lambda f, n=name: _say(f.commits[number], n, None)
        yield what, "changed", lambda f, n=name, v=value: _say(f.commits[number], n, _other(v))
        if others:
            other = min(others)
            yield what, "swapped", lambda f, n=name, v=other: _say(f.commits[number], n, v)
    yield "subject", "changed", lambda f: _retitle(f.commits[number])
    yield "trailer Undoes", "added", lambda f: f.commits[number].say(Undoes="feedfeedfeedfeed")
    yield "trailer Hand", "added", lambda f: f.commits[number].say(Hand="a" * 40)
    yield "trailer Reverts", "added", lambda f: f.commits[number].say(Reverts="t-zzzzz")


def _say(commit: Written, name: str, value: str | None) -> None:
    line = "" if value is None else f"Gitmill-{name}: {value}\n"
    commit.message = re.sub(
        rf"^Gitmill-{name}: .*\n", lambda _: line, commit.message, flags=re.MULTILINE
    )


def _other(value: str) -> str:
    if re.fullmatch(r"[0-9a-f]+", value):
        return value[:-1] + ("0" if value[-1] != "0" else "1")
    return value + "x"


def _retitle(commit: Written) -> None:
    commit.message = "another subject" + commit.message[commit.message.index("\n") :]


def _of_line(forgery: Forgery, number: int, commit: Written) -> Iterator[tuple[str, str, _Forge]]:
    yield "commit", "dropped", lambda f: f.commits.pop(number)
    yield "commit", "replayed", lambda f: f.commits.append(copy.deepcopy(f.commits[number]))
    if number + 1 < len(forgery.commits):
        yield (
            "commit",
            "swapped with the next",
            lambda f: f.commits.insert(number, f.commits.pop(number + 1)),
        )
    for hours in (-1, 1):
        yield "time", f"{hours:+} h", lambda f, h=hours: _shift(f.commits[number], h)
    yield "author", "another", lambda f: _author(f.commits[number])


def _shift(commit: Written, hours: int) -> None:
    def moved(ident: str) -> str:
        return re.sub(r"> (\d+) ", lambda m: f"> {int(m[1]) + hours * 3600} ", ident)

    commit.author, commit.committer = moved(commit.author), moved(commit.committer)


def _author(commit: Written) -> None:
    commit.author = re.sub(r"^.*> ", "Eve <eve@example.com> ", commit.author)


# -- documents -------------------------------------------------------------------------------------


def _of_document(forgery: Forgery, number: int, path: str) -> Iterator[tuple[str, str, _Forge]]:
    commit = forgery.commits[number]
    data = commit.files[path]
    assert data is not None
    folder = path.partition("/")[0]
    document = Document.from_bytes(data)
    before = _before(forgery, number, path)
    for key in document.fields:
        what = f"{folder} {key}"
        value = document.value(key)
        edits: dict[str, Any] = {"dropped": None, "changed": _changed(value)}
        old = before.value(key) if before is not None else None
        if old is not None and old != value:
            edits["as before"] = old
        for how, new in edits.items():
            yield from _both(forgery, number, path, what, how, key, new)
        yield what, "in other bytes", lambda f, k=key: _rewrite(f, number, path, k)
        yield what, "moved", lambda f, k=key: _reorder(f, number, path, k)
    if document.has_front_matter:
        yield from _both(forgery, number, path, f"{folder} unknown", "added", "zebra", 1)
    yield f"{folder} body", "changed", lambda f: _body(f, number, path, carried=False)
    yield f"{folder} body", "changed, carried", lambda f: _body(f, number, path, carried=True)


def _before(forgery: Forgery, number: int, path: str) -> Document | None:
    for commit in reversed(forgery.commits[:number]):
        if (data := commit.files.get(path)) is not None:
            return Document.from_bytes(data)
    return None


def _changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return _other(value) if value else "x"
    if isinstance(value, list):
        return value[:-1] if value else ["x"]
    if isinstance(value, dict) and value:
        key = max(value)
        return {**value, key: _changed(value[key])}
    return "x"


def _both(
    forgery: Forgery, number: int, path: str, what: str, how: str, key: str, new: Any
) -> Iterator[tuple[str, str, _Forge]]:
    yield what, how, lambda f: _set(f, number, path, key, new, carried=False)
    if any(path in commit.files for commit in forgery.commits[number + 1 :]):
        yield what, f"{how}, carried", lambda f: _set(f, number, path, key, new, carried=True)


def _set(forgery: Forgery, number: int, path: str, key: str, new: Any, *, carried: bool) -> None:
    was = _field(forgery.commits[number].files[path], key)

    def edit(data: bytes) -> bytes | None:
        if _field(data, key) != was:
            return None
        return Document.from_bytes(data).set(key, new).to_bytes()

    _edit(forgery, number, path, edit, carried=carried)


def _field(data: bytes | None, key: str) -> Any:
    document = Document.from_bytes(data or b"")
    return json.dumps(document.value(key), default=str) if key in document.fields else None


def _rewrite(forgery: Forgery, number: int, path: str, key: str) -> None:
    def edit(data: bytes) -> bytes:
        return re.sub(rb"^(" + key.encode() + rb":) ", rb"\1  ", data, count=1, flags=re.MULTILINE)

    _edit(forgery, number, path, edit, carried=True)


def _reorder(forgery: Forgery, number: int, path: str, key: str) -> None:
    def edit(data: bytes) -> bytes | None:
        lines = data.split(b"\n")
        at = next((n for n, line in enumerate(lines) if line.startswith(key.encode() + b":")), 0)
        if not at:
            return None
        lines.insert(1, lines.pop(at)) if at > 1 else lines.insert(2, lines.pop(1))
        return b"\n".join(lines)

    _edit(forgery, number, path, edit, carried=True)


def _body(forgery: Forgery, number: int, path: str, *, carried: bool) -> None:
    _edit(forgery, number, path, lambda data: data + b"more\n", carried=carried)


def _edit(forgery: Forgery, number: int, path: str, edit: Edit, *, carried: bool) -> None:
    """Change a document in one commit, or on to the next commit where the change does not fit."""
    for commit in forgery.commits[number:]:
        data = commit.files.get(path)
        if data is not None:
            new = edit(data)
            if new is None:
                return
            commit.files[path] = new
            if commit.trailer("Evidence") == blob(data):
                commit.say(Evidence=blob(new))
        if not carried:
            return
