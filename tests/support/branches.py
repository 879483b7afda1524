"""Seeded pairs of diverged branches, with everything in them that merges stumble over.

A generated history is pure data; `build` writes it into a repository with one `git fast-import`.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.repos import Repo

FILE, EXECUTABLE, SYMLINK, GITLINK = "100644", "100755", "120000", "160000"

Tree = dict[bytes, tuple[str, bytes]]

FOLDERS = [b"", b"src/", b"src/core/", b"src/core/deep/", b"docs/", b"b\xc3\xbccher und mehr/"]
NAMES = [
    b"main.c", b"util.c", b"notes.txt", b"log.txt", b"data.bin", b"app.cfg", b"deps.lock",
    b"win.bat", b"-dash.txt", b"with space.c", b"new\nline.txt", b"\xc3\xa4\xc3\xb6.txt",
    b'quo"te.c', b"tab\t.cfg",
]  # fmt: skip
if sys.platform == "linux":
    NAMES.append(b"\xff\xfe latin.txt")

ATTRIBUTES = [
    b"*.txt merge=union", b"*.bin binary", b"*.cfg merge=mine", b"*.lock -merge",
    b"*.c merge=theirs", b"*.bat text eol=crlf", b"* text=auto", b"*.bat -text",
    b"[attr]both merge=union\n*.c both", b"core/** merge=union", b"*.txt merge=binary",
    b"*.bat -diff", b"*.c conflict-marker-size=9",
]  # fmt: skip

SETTINGS = {
    "merge.renormalize": ["true"],
    "merge.directoryRenames": ["true", "false", "conflict"],
    "merge.renames": ["false"],
    "diff.renames": ["copies", "false"],
    "diff.algorithm": ["patience", "myers"],
    "merge.conflictStyle": ["diff3"],
    "rerere.enabled": ["true"],
}
DRIVERS = {"merge.mine.driver": "true", "merge.theirs.driver": "cp -f %B %A"}


@dataclass
class History:
    """Commits of the three branches as (message, whole tree), and git settings to try them with."""

    seed: int
    base: list[tuple[str, Tree]]
    onto: list[tuple[str, Tree]]
    topic: list[tuple[str, Tree]]
    settings: dict[str, str]
    features: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Ends:
    base: str
    onto: str
    topic: str


def generate(seed: int) -> History:
    dice = random.Random(seed)
    features: set[str] = set()
    start = _first_tree(dice)
    settings = dict(DRIVERS)
    for name, values in SETTINGS.items():
        if dice.random() < 0.15:
            settings[name] = dice.choice(values)
            features.add(name)
    onto = _branch(dice, start, "onto", dice.randint(1, 3), features)
    topic = _branch(dice, start, "topic", dice.randint(1, 4), features)
    if dice.random() < 0.3:
        _share(dice, start, onto, topic)
        features.add("shared change")
    if dice.random() < 0.4:
        features.add("attributes decide, set by " + _contest(dice, start, onto, topic))
    if dice.random() < 0.15:
        at = dice.randint(1, len(topic))
        topic.insert(at, ("empty from the start\n", dict(topic[at - 1][1])))
        features.add("empty commit")
    for _, tree in onto + topic:
        _normalize(tree)
    return History(seed, [("base\n", start)], onto, topic, settings, features)


def _first_tree(dice: random.Random) -> Tree:
    tree: Tree = {}
    for folder in FOLDERS:
        for name in dice.sample(NAMES, dice.randint(2, 4)):
            tree[folder + name] = (FILE, _content(dice, folder + name))
    tree[b"run.sh"] = (EXECUTABLE, _content(dice, b"run.sh"))
    tree[b"link"] = (SYMLINK, b"src/main.c")
    tree[b"module"] = (GITLINK, _commit_id(dice))
    for folder in (b"", b"src/", b"docs/"):
        if dice.random() < 0.6:
            tree[folder + b".gitattributes"] = (FILE, _attributes(dice))
    _normalize(tree)
    return tree


def _normalize(tree: Tree) -> None:
    """Give text files the line ends that their attributes want, or git calls a checkout dirty."""
    for place, (_, rules) in [
        entry for entry in tree.items() if entry[0].endswith(b".gitattributes")
    ]:
        folder = place.removesuffix(b".gitattributes")
        for rule in rules.splitlines():
            pattern, *attributes = rule.split()
            if not {b"text", b"text=auto"} & set(attributes):
                continue
            for path in _regular(tree):
                if path.startswith(folder) and path.endswith(pattern.removeprefix(b"*")):
                    mode, content = tree[path]
                    if b"\0" not in content:
                        tree[path] = (mode, content.replace(b"\r\n", b"\n"))


def _branch(
    dice: random.Random, start: Tree, name: str, length: int, features: set[str]
) -> list[tuple[str, Tree]]:
    commits: list[tuple[str, Tree]] = []
    tree = start
    for number in range(length):
        tree = dict(tree)
        for _ in range(dice.randint(1, 3)):
            change = dice.choices(list(CHANGES), list(CHANGES.values()))[0]
            change(dice, tree)
            features.add(change.__name__.replace("_", " ").strip())
        _normalize(tree)
        commits.append((f"{name} {number}: {chr(228)}\n\nbody\n", tree))
    return commits


def _share(
    dice: random.Random, start: Tree, onto: list[tuple[str, Tree]], topic: list[tuple[str, Tree]]
) -> None:
    """Begin both branches with the same change, so that it is empty when replayed."""
    tree = dict(start)
    dice.choice([_edit, _add, _rename, _delete])(dice, tree)
    gone = [path for path in start if path not in tree]
    new = {path: entry for path, entry in tree.items() if start.get(path) != entry}
    for branch in (onto, topic):
        branch[:] = [
            (message, {p: e for p, e in old.items() if p not in gone and p not in new} | new)
            for message, old in branch
        ]
        branch.insert(0, ("shared\n", tree))


def _contest(
    dice: random.Random, start: Tree, onto: list[tuple[str, Tree]], topic: list[tuple[str, Tree]]
) -> str:
    """Let both branches append to one file, and an attribute say what comes of it."""
    path = dice.choice([b"log.txt", b"docs/log.txt", b"src/log.txt"])
    rules = path[: path.rfind(b"/") + 1] + b".gitattributes"
    rule = dice.choice([b"union", b"mine", b"theirs", b"binary"])
    setter = dice.choice(["base", "onto", "topic"])
    content = _content(dice, path)
    topic.append(("topic contests\n", dict(topic[-1][1])))
    for name, trees in [
        ("base", [start]),
        ("onto", [tree for _, tree in onto]),
        ("topic", [tree for _, tree in topic]),
    ]:
        for tree in trees:
            last = tree is onto[-1][1] or tree is topic[-1][1]
            ending = b"%s\n" % name.encode() if last else b""
            _put(tree, path, (FILE, content + ending))
            if setter in ("base", name):
                _put(tree, rules, (FILE, b"*.txt merge=%s\n" % rule))
    return setter


def _content(dice: random.Random, path: bytes) -> bytes:
    if path.endswith(b".bin"):
        return b"\0" + dice.randbytes(300)
    end = b"\r\n" if path.endswith(b".bat") else b"\n"
    return end.join(_line(dice) for _ in range(dice.randint(8, 24))) + end


def _line(dice: random.Random) -> bytes:
    words = [b"alpha", b"beta", b"gamma", b"return", b"x =", b"call()", b"# why"]
    return b" ".join([*dice.sample(words, 3), str(dice.randint(0, 999)).encode()])


def _commit_id(dice: random.Random) -> bytes:
    return dice.randbytes(20).hex().encode()


def _attributes(dice: random.Random) -> bytes:
    return b"\n".join(dice.sample(ATTRIBUTES, dice.randint(1, 3))) + b"\n"


def _regular(tree: Tree) -> list[bytes]:
    return sorted(path for path, (mode, _) in tree.items() if mode in (FILE, EXECUTABLE))


def _pick(dice: random.Random, tree: Tree, *, often: float = 0.5) -> bytes:
    """Choose a file; often the first one of its kind, so that the branches meet."""
    paths = [p for p in _regular(tree) if not p.endswith(b".gitattributes")] or [b"only.txt"]
    tree.setdefault(paths[0], (FILE, _content(dice, paths[0])))
    firsts = {path.rpartition(b".")[2]: path for path in reversed(paths)}
    return dice.choice(list(firsts.values()) if dice.random() < often else paths)


def _edit(dice: random.Random, tree: Tree) -> None:
    path = _pick(dice, tree)
    mode, content = tree[path]
    lines = content.splitlines(keepends=True) or [b"\n"]
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(lines))
        end = b"\r\n" if lines[at].endswith(b"\r\n") else b"\n"
        lines[at : at + dice.randint(0, 2)] = [_line(dice) + end] * dice.randint(0, 2)
        lines = lines or [b"\n"]
    tree[path] = (mode, b"".join(lines))


def _append(dice: random.Random, tree: Tree) -> None:
    path = _pick(dice, tree, often=0.9)
    tree[path] = (tree[path][0], tree[path][1] + _line(dice) + b"\n" * dice.randint(0, 1))


def _add(dice: random.Random, tree: Tree) -> None:
    folders = sorted({path[: path.rfind(b"/") + 1] for path in tree})
    folder = dice.choice(folders) if dice.random() < 0.5 else b"src/"
    path = folder + dice.choice([b"new-1", b"new-2"]) + dice.choice([b".c", b".txt", b".bat"])
    _put(tree, path, (FILE, _content(dice, path)))


def _delete(dice: random.Random, tree: Tree) -> None:
    del tree[_pick(dice, tree)]


def _rename(dice: random.Random, tree: Tree) -> None:
    old = _pick(dice, tree)
    if dice.random() < 0.5:
        _edit(dice, tree)
    folder = dice.choice([b"", b"moved/", old[: old.rfind(b"/") + 1]])
    entry = tree.pop(old)
    _put(tree, folder + b"to-" + dice.choice([b"1", b"2", old.rsplit(b"/")[-1]]), entry)


def _rename_folder(dice: random.Random, tree: Tree) -> None:
    old = dice.choice([b"src/core/", b"docs/", b"src/", b"b\xc3\xbccher und mehr/"])
    new = dice.choice([b"lib/", b"src/nucleus/", b"docs/old/", b"moved/"])
    for path in [path for path in tree if path.startswith(old) and not path.startswith(new)]:
        _put(tree, new + path[len(old) :], tree.pop(path))
    _put(tree, new + b"fresh.c", (FILE, _content(dice, b"fresh.c")))


def _change_mode(dice: random.Random, tree: Tree) -> None:
    path = _pick(dice, tree)
    mode, content = tree[path]
    tree[path] = (FILE if mode == EXECUTABLE else EXECUTABLE, content)


def _link(dice: random.Random, tree: Tree) -> None:
    """Make a file a symbolic link, or the link a file."""
    if tree.get(b"link", (FILE,))[0] == SYMLINK and dice.random() < 0.5:
        kind = dice.choice([SYMLINK, FILE])
        tree[b"link"] = (kind, b"docs" if kind == SYMLINK else _content(dice, b"link"))
    else:
        tree[_pick(dice, tree)] = (SYMLINK, b"run.sh")


def _file_to_folder(dice: random.Random, tree: Tree) -> None:
    path = _pick(dice, tree)
    tree[path + b"/inner.c"] = (FILE, _content(dice, b"inner.c"))
    del tree[path]


def _folder_to_file(dice: random.Random, tree: Tree) -> None:
    folder = dice.choice([b"src/core/deep", b"docs"])
    _put(tree, folder, (FILE, _content(dice, folder)))


def _change_attributes(dice: random.Random, tree: Tree) -> None:
    path = dice.choice([b"", b"src/", b"docs/"]) + b".gitattributes"
    if path in tree and dice.random() < 0.3:
        del tree[path]
    else:
        _put(tree, path, (FILE, _attributes(dice)))


def _convert_line_ends(dice: random.Random, tree: Tree) -> None:
    path = _pick(dice, tree)
    mode, content = tree[path]
    bare = content.replace(b"\r\n", b"\n")
    tree[path] = (mode, bare if bare != content else bare.replace(b"\n", b"\r\n"))


def _move_gitlink(dice: random.Random, tree: Tree) -> None:
    tree.pop(b"module", None)
    if dice.random() < 0.8:
        _put(tree, b"module", (GITLINK, _commit_id(dice)))


def _put(tree: Tree, path: bytes, entry: tuple[str, bytes]) -> None:
    """Set a path, and clear what cannot stand beside it."""
    for other in list(tree):
        if other.startswith(path + b"/") or path.startswith(other + b"/"):
            del tree[other]
    tree[path] = entry


CHANGES: dict[Callable[[random.Random, Tree], None], int] = {
    _edit: 12, _append: 14, _add: 5, _delete: 1, _rename: 4, _rename_folder: 2, _change_mode: 2,
    _link: 2, _file_to_folder: 1, _folder_to_file: 1, _change_attributes: 5,
    _convert_line_ends: 2, _move_gitlink: 1,
}  # fmt: skip


def build(repo: Repo, history: History) -> Ends:
    """Write a history into an empty repository and its settings into the configuration."""
    with Path(repo.git_dir, "config").open("a") as config:
        for name, value in history.settings.items():
            section, key = name.rsplit(".", 1)
            first, _, second = section.partition(".")
            header = f'[{first} "{second}"]' if second else f"[{first}]"
            config.write(f"{header}\n\t{key} = {value}\n")
    commits = [(message, tree, number - 1) for number, (message, tree) in enumerate(history.base)]
    ends = [len(commits) - 1]
    for branch in (history.onto, history.topic):
        for number, (message, tree) in enumerate(branch):
            commits.append((message, tree, len(commits) - 1 if number else ends[0]))
        ends.append(len(commits) - 1)
    ids = write_commits(repo, commits)
    return Ends(*(ids[end] for end in ends))


def write_commits(repo: Repo, commits: Sequence[tuple[str, Tree, int]]) -> list[str]:
    """Write commits as (message, whole tree, index of the parent or -1) and return their ids."""
    stream = [_commit(number, *commit) for number, commit in enumerate(commits)]
    marks = Path(repo.git_dir, "marks")
    repo.git("fast-import", "--quiet", "--force", f"--export-marks={marks}", stdin=b"".join(stream))
    ids = dict(line.split() for line in marks.read_text().splitlines())
    return [ids[f":{number + 1}"] for number in range(len(commits))]


def _commit(number: int, message: str, tree: Tree, parent: int) -> bytes:
    who = b"Grace H <grace@example.com> %d +0530" % (1_700_000_000 + number)
    text = message.encode()
    lines = [
        b"commit refs/heads/line-%d" % number, b"mark :%d" % (number + 1),
        b"author " + who, b"committer " + who, b"data %d\n%s" % (len(text), text),
    ]  # fmt: skip
    if parent >= 0:
        lines.append(b"from :%d" % (parent + 1))
    lines.append(b"deleteall")
    for path, (mode, content) in tree.items():
        quoted = path.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
        if mode == GITLINK:
            lines.append(b'M 160000 %s "%s"' % (content, quoted))
        else:
            lines.append(b'M %s inline "%s"' % (mode.encode(), quoted))
            lines.append(b"data %d\n%s" % (len(content), content))
    return b"\n".join([*lines, b"", b""])
