"""The identity of a change: what counts, what does not, and that a replay keeps it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitmill.git.differ import Differ
from gitmill.git.executable import Git
from gitmill.git.patch import patch_identity
from gitmill.git.replay import Replayed, replay
from gitmill.git.repo import Repository
from tests.support.branches import EXECUTABLE, FILE, GITLINK, SYMLINK, Tree, write_commits
from tests.support.repos import Repo, Sandbox
from tests.support.seeds import times

LINES = [b"line %d\n" % n for n in range(20)]
TEXT = b"".join(LINES)
ZEROS = "0" * 40


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    return sandbox.repo()


def trees(repo: Repo, *contents: dict[bytes, bytes | tuple[str, bytes]]) -> list[str]:
    """Write one commit per content; a file without a mode is a plain one."""
    full: list[Tree] = [
        {path: entry if isinstance(entry, tuple) else (FILE, entry) for path, entry in each.items()}
        for each in contents
    ]
    return write_commits(repo, [("x\n", tree, -1) for tree in full])


def identities(repo: Repo, before, *after) -> list[str]:
    old, *new = trees(repo, before, *after)
    return [patch_identity(Git(repo.git_dir, work_tree=repo.path), old, tip) for tip in new]


def edited(at: int, *new: bytes, remove: int = 0) -> bytes:
    return b"".join([*LINES[:at], *new, *LINES[at + remove :]])


PLAIN = {b"a": TEXT, b"z": TEXT}
CHANGED = PLAIN | {b"a": edited(3, b"one = 1\n", b"two = 2\n", remove=1)}

DIFFERENT = {
    "an indentation": {b"a": edited(3, b"  one = 1\n", b"two = 2\n", remove=1)},
    "white space within": {b"a": edited(3, b"one  = 1\n", b"two = 2\n", remove=1)},
    "white space at the end": {b"a": edited(3, b"one = 1 \n", b"two = 2\n", remove=1)},
    "an empty line": {b"a": edited(3, b"one = 1\n", b"\n", b"two = 2\n", remove=1)},
    "line ends": {b"a": edited(3, b"one = 1\r\n", b"two = 2\n", remove=1)},
    "one letter": {b"a": edited(3, b"one = l\n", b"two = 2\n", remove=1)},
    "the order of lines": {b"a": edited(3, b"two = 2\n", b"one = 1\n", remove=1)},
    "what is removed": {b"a": edited(4, b"one = 1\n", b"two = 2\n", remove=1)},
    "how much is removed": {b"a": edited(3, b"one = 1\n", b"two = 2\n", remove=2)},
    "another path": {b"a": TEXT, b"z": edited(3, b"one = 1\n", b"two = 2\n", remove=1)},
    "a path more": {b"z": edited(3, b"one = 1\n", b"two = 2\n", remove=1)},
    "a new file": {b"b": b""},
    "the mode": {b"a": (EXECUTABLE, edited(3, b"one = 1\n", b"two = 2\n", remove=1))},
    "the type": {b"a": (SYMLINK, b"z")},
    "the last newline": {b"z": TEXT.removesuffix(b"\n")},
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_differs_by(repo, what):
    same, also, other = identities(repo, PLAIN, CHANGED, dict(CHANGED), CHANGED | DIFFERENT[what])[
        :3
    ]
    assert same == also != other


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({b"a": b"x"}, {b"a": b"x\n"}),
        ({b"a": b"x\ny"}, {b"a": b"x\ny\n"}),
        ({b"a": b"x\r"}, {b"a": b"x\r\n"}),
        ({b"a": b"-- b\n"}, {b"a": b"++ b\n"}),
        ({b"a": b"", b"b": b"x\n"}, {b"a": b"x\n", b"b": b""}),
        ({b"a": b"x\n", b"b": b"y\n"}, {b"a": b"x\ny\n", b"b": b""}),
        ({b"a": b"diff --git a/b b/b\n", b"b": b""}, {b"a": b"", b"b": b"diff --git a/b b/b\n"}),
        ({b"a": b"@@ -0,0 +1,2 @@\nx\n"}, {b"a": b"@@ -0,0 +1 @@\nx\n"}),
        ({b"a": b"\\ No newline at end of file\n"}, {b"a": b"x"}),
        ({b"a": (FILE, b"x")}, {b"a": (EXECUTABLE, b"x")}),
        ({b"a": (FILE, b"x")}, {b"a": (SYMLINK, b"x")}),
        ({b"a": (GITLINK, b"1" * 40)}, {b"a": (GITLINK, b"2" * 40)}),
        ({b"a\nb": b"x"}, {b"a": b"x"}),
        ({b"\xff": b"x"}, {b"\xfe": b"x"}),
        ({b"a": b"\0x\ny\n"}, {b"a": b"y\n\0x\n"}),
    ],
)
def test_tells_new_files_apart(repo, one, other):
    first, second = identities(repo, {}, one, other)
    assert first != second


def test_modes_count_before_and_after(repo):
    new = edited(3, b"x\n")
    commits = trees(repo, *({b"a": (m, c)} for c in (TEXT, new) for m in (FILE, EXECUTABLE)))
    git = Git(repo.git_dir)
    seen = {patch_identity(git, commits[old], commits[new]) for old in (0, 1) for new in (2, 3)}
    assert len(seen) == 4


def test_position_and_neighbours_do_not_count(repo):
    moved = [b"before %d\n" % n for n in range(5)] + LINES
    moved[8 + 4] = b"another neighbour\n"
    old, new, old_moved, new_moved = trees(
        repo,
        {b"a": TEXT},
        {b"a": edited(8, b"new\n", remove=1)},
        {b"a": b"".join(moved)},
        {b"a": b"".join([*moved[:13], b"new\n", *moved[14:]])},
    )
    git = Git(repo.git_dir)
    assert patch_identity(git, old, new) == patch_identity(git, old_moved, new_moved)
    # what makes the difference: git's own identity goes by the lines around
    told = [
        repo.git("patch-id", "--verbatim", stdin=repo.git("diff", *pair).encode() + b"\n").split()[
            0
        ]
        for pair in ((old, new), (old_moved, new_moved))
    ]
    assert told[0] != told[1]


def test_binary_files_count_as_a_whole(repo):
    start = b"\0binary\n" + TEXT
    old, new, also, moved = trees(
        repo,
        {b"a": start},
        {b"a": start + b"x\0\n"},
        {b"a": b"x\0\n" + start},
        {b"a": b"y" + start},
    )
    git = Git(repo.git_dir)
    assert patch_identity(git, old, new) != patch_identity(git, old, also)
    longer = trees(repo, {b"a": b"y" + start + b"x\0\n"})[0]
    assert patch_identity(git, old, new) != patch_identity(git, moved, longer)
    assert patch_identity(git, old, new) == patch_identity(git, repo.tree(old), repo.tree(new))


def test_a_binary_file_counts_as_it_was_before(repo):
    """The same line is removed and the same file remains, but the line was somewhere else."""
    first, last, after = trees(repo, {b"a": b"\0x\n" + TEXT}, {b"a": TEXT + b"\0x\n"}, {b"a": TEXT})
    git = Git(repo.git_dir)
    assert patch_identity(git, first, after) != patch_identity(git, last, after)


CONFIGURATIONS = [
    {"diff.algorithm": "patience", "diff.indentHeuristic": "true", "diff.context": "9"},
    {"diff.noprefix": "true", "diff.mnemonicPrefix": "true", "diff.relative": "true"},
    {"diff.srcPrefix": "x/", "diff.dstPrefix": "y/", "diff.interHunkContext": "50"},
    {"diff.external": "false", "diff.renames": "copies", "diff.renameLimit": "1"},
    {"color.ui": "always", "color.diff": "always", "diff.colorMoved": "zebra"},
    {"diff.submodule": "log", "diff.ignoreSubmodules": "all", "diff.suppressBlankEmpty": "true"},
    {"core.quotePath": "true", "core.bigFileThreshold": "1", "core.abbrev": "5"},
    {"diff.odd.command": "false", "diff.odd.textconv": "false", "diff.odd.binary": "true"},
    {"diff.odd.algorithm": "myers", "diff.odd.xfuncname": "^(.*)$", "core.whitespace": "cr-at-eol"},
    {"diff.wsErrorHighlight": "all", "core.autocrlf": "true", "submodule.recurse": "true"},
    {"diff.orderFile": "order"},
]
MIXED: list[dict[bytes, bytes | tuple[str, bytes]]] = [
    {
        b"a": TEXT, b"b \xc3\xa4": TEXT, b"bin": b"\0" + TEXT, b"crlf": b"x\r\ny\r\n",
        b"gone": TEXT,
        b"sub": (GITLINK, b"1" * 40), b"type": b"z", b"dup": b"{\n\n}\n\n{\n\n}\n",
        b".gitmodules": b'[submodule "sub"]\n\tpath = sub\n\turl = x\n\tignore = all\n',
    },
    {
        b"a": edited(3, b" x\n", remove=1), b"b \xc3\xa4": edited(3, b"y"), b"bin": TEXT,
        b"crlf": b"x\r\nz\r\n", b"came": TEXT, b"sub": (GITLINK, b"2" * 40),
        b"type": (SYMLINK, b"z"), b"dup": b"{\n\n}\n\n{\n}\n\n{\n\n}\n",
        b".gitmodules": b'[submodule "sub"]\n\tpath = sub\n\turl = x\n\tignore = all\n',
    },
]  # fmt: skip


class TestNeitherConfigurationNorAttributesCount:
    @pytest.fixture
    def pair(self, repo) -> tuple[Git, str, str]:
        repo.write({"order": "type\na\n", ".gitmodules": MIXED[1][b".gitmodules"]})
        return Git(repo.git_dir, work_tree=repo.path), *trees(repo, *MIXED)

    @pytest.mark.parametrize("configuration", CONFIGURATIONS)
    def test_configuration(self, repo, pair, configuration):
        repo.write({".gitattributes": "* diff=odd\n"})
        expected = patch_identity(*pair)
        for name, value in configuration.items():
            repo.git("config", name, value)
        assert patch_identity(*pair) == expected

    @pytest.mark.parametrize(
        "attribute", ["-diff", "binary", "diff=odd", "text eol=crlf", "-text", "filter=odd ident"]
    )
    @pytest.mark.parametrize("place", [".gitattributes", ".git/info/attributes"])
    def test_attributes(self, repo, pair, attribute, place):
        expected = patch_identity(*pair)
        for key in ("command", "textconv"):
            repo.git("config", f"diff.odd.{key}", "false")
        repo.git("config", "filter.odd.clean", "false")
        repo.write({place: f"* {attribute}\n"})
        assert patch_identity(*pair) == expected

    def test_environment(self, pair, monkeypatch):
        expected = patch_identity(*pair)
        monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
        monkeypatch.setenv("GIT_DIFF_OPTS", "-u9")
        assert patch_identity(*pair) == expected


class TestProperties:
    line = st.binary(max_size=6).map(lambda data: data.replace(b"\n", b"") + b"\n")
    text = line.map(lambda data: data.replace(b"\0", b""))  # no merge looks into a binary file

    @settings(max_examples=times(15))
    @given(one=st.lists(line, max_size=4), other=st.lists(line, max_size=4))
    def test_added_lines_are_the_identity(self, tmp_path_factory, one, other):
        repo = Sandbox(tmp_path_factory.mktemp("here")).repo()
        first, second = identities(
            repo, {b"a": TEXT}, {b"a": edited(9, *one)}, {b"a": edited(9, *other)}
        )
        assert (first == second) == (one == other)

    @settings(max_examples=times(15))
    @given(
        new=st.lists(text, min_size=1, max_size=4),
        mine=st.integers(0, 8),
        removed=st.integers(0, 2),
        theirs=st.integers(13, 19),
        far=st.lists(st.sampled_from([b"far\n", b"line 3\n", b"\n", b"}\n"]), max_size=5),
    )
    def test_survives_a_replay_over_other_edits(
        self, tmp_path_factory, new, mine, removed, theirs, far
    ):
        sandbox = Sandbox(tmp_path_factory.mktemp("here"))
        repo = sandbox.repo()
        contents = [TEXT, edited(mine, *new, remove=removed), edited(theirs, *far, remove=1)]
        files: list[Tree] = [{b"a": (FILE, content)} for content in contents]
        files[2][b"other"] = (FILE, b"theirs\n")
        base, tip, onto = write_commits(
            repo, [("b\n", files[0], -1), ("t\n", files[1], 0), ("o\n", files[2], 0)]
        )
        git = Git(repo.git_dir)
        result = replay(git, base=base, tip=tip, onto=onto, scratch=sandbox.root)
        assert isinstance(result, Replayed)
        assert patch_identity(git, base, tip) == patch_identity(git, onto, result.tip)


class TestChanges:
    """What differs between two trees, against what git says."""

    @staticmethod
    def changes(repo, old: str, new: str) -> list[tuple[str, str, str]]:
        backend = Repository.open(repo.path).objects
        pair = (repo.git("rev-parse", f"{t}^{{tree}}") for t in (old, new))
        found = Differ(backend).changes(*pair)
        return [(c.path, c.old.oid if c.old else "", c.new.oid if c.new else "") for c in found]

    @pytest.mark.parametrize("names", ["mixed", "bytes"])
    def test_it_matches_git_diff_tree(self, repo, names):
        odd = ({}, {b'-a\n\t"b\xff': b"x", b"d/\xc3\xa4": b"y"})
        old, new = trees(repo, *(MIXED if names == "mixed" else odd))
        raw = repo.git("diff-tree", "-r", "-z", "--no-renames", old, new).split("\0")
        told = {
            (path, *(oid.strip("0") and oid for oid in head.split(" ")[2:4]))
            for head, path in zip(raw[0::2], raw[1::2], strict=False)
        }
        assert told
        assert set(self.changes(repo, old, new)) == told

    def test_a_file_replaced_by_a_folder_is_removed_and_the_files_in_it_are_added(self, repo):
        old, new = trees(repo, {b"a": b"x"}, {b"a/b": b"x", b"a/c/d": b"y"})
        assert [(p, bool(o), bool(n)) for p, o, n in self.changes(repo, old, new)] == [
            ("a/b", False, True), ("a/c/d", False, True), ("a", True, False),
        ]  # fmt: skip

    def test_of_nothing(self, repo):
        assert self.changes(repo, "HEAD", "HEAD") == []
        git = Git(repo.git_dir)
        assert patch_identity(git, "HEAD", "HEAD") == patch_identity(git, "HEAD", repo.tree())

    def test_where_ids_are_long(self, sandbox):
        repo = sandbox.repo("long", object_format="sha256", files={"a": "1\n"})
        repo.commit({"a": "2\n"})
        git = Git(repo.git_dir)
        ((_, _, new),) = self.changes(repo, "HEAD~1", "HEAD")
        assert len(new) == 64
        assert patch_identity(git, "HEAD~1", "HEAD") != patch_identity(git, "HEAD", "HEAD~1")
