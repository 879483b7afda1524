"""The state at one commit, read lazily and cached: a commit never changes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from gitmill.caches import BoundedCache
from gitmill.core.document import Document
from gitmill.core.ids import PATTERN, Kind, matches
from gitmill.core.item import Item
from gitmill.core.item_reader import read_item
from gitmill.core.lifecycle import RULES
from gitmill.core.trailers import parse_message
from gitmill.errors import (
    AmbiguousItemError,
    BadDocumentError,
    BadFormatError,
    NoSuchItemError,
)
from gitmill.git import trees
from gitmill.git.objects import GITLINK, TREE, Backend, Entry, read_commit
from gitmill.hints import Gitmill, Hint, Shell
from gitmill.store import layout


class Control(Document):
    """`control.md`: the document that anyone can commit to steer all clones."""

    @property
    def target(self) -> str:
        """The target branch, without `refs/heads/`."""
        return str(self.text_value("target", "main"))

    @property
    def paused(self) -> bool:
        """Whether new work is paused."""
        return self._flag("paused")

    @property
    def queue_paused(self) -> bool:
        """Whether landing is paused."""
        return self._flag("queue_paused")

    @property
    def reason(self) -> str:
        """Why work is paused."""
        return str(self.text_value("reason", "") or "")

    @property
    def queue_reason(self) -> str:
        """Why the queue is paused."""
        return str(self.text_value("queue_reason", "") or "")

    def _flag(self, key: str) -> bool:
        # An emergency stop that cannot be parsed must not be ignored.
        if self.text.strip() and not self.has_front_matter:
            raise self.error(0, "expected front matter between two lines `---`")
        value = self.value(key, default=False)
        if not isinstance(value, bool):
            raise self.error(self.line_of(key), f"{key} must be true or false")
        return value


ItemCache = BoundedCache[str, Item]  # by the id of the blob


class Snapshot:
    """The items, the control document and the files of the state branch at one commit."""

    def __init__(self, backend: Backend, commit: str, cache: ItemCache) -> None:
        self.commit = commit
        self._backend = backend
        self._cache = cache

    @cached_property
    def tree(self) -> str:
        """The tree of the state commit."""
        return read_commit(self._backend, self.commit).tree

    @cached_property
    def _top(self) -> dict[str, Entry]:
        return trees.entries(self._backend, self.tree)

    @cached_property
    def rules(self) -> int:
        """The version of the rules that the newest event follows, 0 before the first event."""
        at: str | None = self.commit
        while at:
            commit = read_commit(self._backend, at)
            record = parse_message(commit.message)[1]
            if record is not None:
                return record.version
            at = commit.parents[0] if commit.parents else None
        return 0

    def require_rules(self) -> None:
        """Raise `BadFormatError` if events follow rules that this gitmill does not know."""
        if self.rules > RULES:
            raise BadFormatError(
                f"the state branch follows version {self.rules} of the rules, this gitmill knows"
                f" up to {RULES}, so it writes nothing",
                hints=[Hint("update gitmill:", Shell("pip install --upgrade gitmill"))],
            )

    def require_format(self) -> None:
        """Raise `BadFormatError` if another version of gitmill wrote this branch."""
        written = (self.read(layout.FORMAT_FILE) or b"").decode("utf-8", "replace").strip()
        if written != layout.FORMAT:
            raise BadFormatError(
                f"the state branch has format {written or '(none)'}, this gitmill reads "
                f"{layout.FORMAT}",
                hints=[
                    Hint(
                        "install the version that wrote it: see", Shell("git log -1 gitmill/state")
                    )
                ],
            )

    def read(self, path: str) -> bytes | None:
        """Return a file's content, None if there is no such file."""
        return trees.read_file(self._backend, self.tree, path)

    def files(self, folder: str) -> list[str]:
        """Return the paths of all files below a folder, sorted."""
        entry = trees.find(self._backend, self.tree, folder)
        if entry is None or entry.mode != TREE:
            return []
        return [path for path, _ in trees.walk(self._backend, entry.oid, f"{folder}/")]

    def run_logs(self, item_id: str) -> Iterator[Document]:
        """Yield the run logs of an item, oldest first."""
        paths = self.files(layout.runs_folder(item_id))
        return (log for path in paths if (log := self.run_log(path)) is not None)

    def run_log(self, path: str) -> Document | None:
        """Return the run log at a path, None if there is none."""
        data = self.read(path) if path else None
        return None if data is None else Document.from_bytes(data, path)

    @cached_property
    def control(self) -> Control:
        """The control document, with defaults if it is missing."""
        data = self.read(layout.CONTROL) or b"---\n---\n"
        return Control(data.decode("utf-8", "surrogateescape"), layout.CONTROL)

    @property
    def items(self) -> dict[str, Item]:
        """All readable items, by id; `broken` has the unreadable files."""
        return self._read[0]

    @property
    def broken(self) -> dict[str, BadDocumentError]:
        """The error of each unreadable file in the folders of items, by path."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[dict[str, Item], dict[str, BadDocumentError]]:
        items: dict[str, Item] = {}
        broken: dict[str, BadDocumentError] = {}
        files = list(self._item_files())
        self._cache.make_room(4 * len(files))  # the next state has nearly the same items
        for path, entry in files:
            try:
                item = self._parse(path, entry)
            except BadDocumentError as error:
                broken[path] = error
            else:
                items[item.id] = item
        return items, broken

    def _item_files(self) -> Iterator[tuple[str, Entry]]:
        for kind in Kind:
            folder = self._top.get(kind.folder)
            if folder is not None and folder.mode == TREE:
                yield from trees.walk(self._backend, folder.oid, f"{kind.folder}/")

    def _parse(self, path: str, entry: Entry) -> Item:
        item = self._cache.get(entry.oid)
        if item is None or item.document.path != path:
            data = b"" if entry.mode == GITLINK else self._backend.read(entry.oid)[1]
            document = Document.from_bytes(data, path)
            item = read_item(document)
            if layout.item_path(item.id) != path:
                raise document.error(
                    document.line_of("id"), f"id must be the file's own name, not {item.id}"
                )
            self._cache.put(entry.oid, item)
        return item

    def item(self, item_id: str) -> Item:
        """Return one item by its full id. Raises `NoSuchItemError`, `BadDocumentError`."""
        if not PATTERN.fullmatch(item_id):
            raise NoSuchItemError(f"no item matches {item_id}", hints=[_LIST])
        path = layout.item_path(item_id)
        entry = trees.find(self._backend, self.tree, path)
        if entry is None or entry.mode == TREE:
            raise NoSuchItemError(f"no item matches {item_id}", hints=[_LIST])
        return self._parse(path, entry)

    def resolve(self, typed: str) -> Item:
        """Return the item whose id begins with the typed text.

        Raises `NoSuchItemError`, `AmbiguousItemError`, or the error of a matching broken file.
        """
        text = typed.strip().lower()
        if PATTERN.fullmatch(text) and trees.find(self._backend, self.tree, layout.item_path(text)):
            return self.item(text)
        candidates = [item for item in self.items.values() if text and matches(item.id, text)]
        if len(candidates) == 1:
            return candidates[0]
        if not candidates:
            self._refuse_broken(text)
            raise NoSuchItemError(f"no item matches {typed}", hints=[_LIST])
        raise AmbiguousItemError(
            f"{typed} matches {len(candidates)} items",
            evidence=[f"{i.id}  {i.status.value:<9} {i.title}" for i in candidates[:6]],
            hints=[
                Hint("type more characters, for example", Gitmill("task", "show", candidates[0].id))
            ],
        )

    def _refuse_broken(self, text: str) -> None:
        """Raise the error of a broken file whose name matches the typed text."""
        for path, error in self.broken.items():
            if text and matches(path.rpartition("/")[2], text):
                raise error


_LIST = Hint("see all with", Gitmill("task", "list"))
