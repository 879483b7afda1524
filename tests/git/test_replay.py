"""Replays are compared with a `git rebase` of the same branches."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from gitmill import process
from gitmill.errors import GitFailedError
from gitmill.git import merge_trees as module
from gitmill.git.executable import Git
from gitmill.git.replay import Conflict, Replayed, replay
from tests.support.branches import FILE, Ends, Tree, build, generate, write_commits
from tests.support.repos import Repo, Sandbox
from tests.support.seeds import sampled

# Without 136: there git takes its own checkout, of mixed line ends, for dirty and rebases nothing.
SEEDS = [seed for seed in range(141) if seed != 136]
LINES = "".join(f"line {n}\n" for n in range(12))


def empty_repo(sandbox: Sandbox, name: str = "repo") -> Repo:
    path = sandbox.root / name
    path.mkdir(parents=True)
    repo = Repo(path)
    repo.git("init", "-q", "--template=")
    return repo


def again(repo: Repo, ends: Ends, scratch: Path | None = None) -> Replayed | Conflict:
    return replay(
        Git(repo.git_dir, work_tree=repo.path),
        base=ends.base,
        tip=ends.topic,
        onto=ends.onto,
        scratch=scratch or repo.path.parent / "scratch",
    )


@dataclass(frozen=True)
class Rebase:
    """What `git rebase` did in a worktree of its own."""

    tip: str
    stopped_at: str
    unmerged: frozenset[str]
    complaint: str


def rebase(repo: Repo, ends: Ends) -> Rebase:
    path = repo.path.parent / f"{repo.path.name}-rebased"
    repo.git("worktree", "add", "-q", "--detach", str(path), ends.topic)
    done = subprocess.run(
        ["git", "rebase", "--onto", ends.onto, ends.base],
        cwd=path, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    there = Repo(path)
    if done.returncode == 0:
        return Rebase(there.git("rev-parse", "HEAD"), "", frozenset(), "")
    entries = there.git("ls-files", "-u", "-z").split("\0")[:-1]
    paths = {
        re.sub(r"~(HEAD|[0-9a-f]{7,} \(.*\))(_\d+)?$", "", e.split("\t", 1)[1]) for e in entries
    }
    stopped = there.git("rev-parse", "-q", "--verify", "REBASE_HEAD", check=False)
    return Rebase("", stopped, frozenset(paths), done.stderr)


@pytest.mark.parametrize("seed", sampled(SEEDS, 24))
def test_makes_the_commits_of_a_rebase_or_stops_at_the_same_conflict(sandbox, seed):
    repo = empty_repo(sandbox)
    ends = build(repo, generate(seed))
    expected = rebase(repo, ends)
    result = again(repo, ends)
    if isinstance(result, Replayed):
        assert result.tip == expected.tip
        return
    assert result.commit == expected.stopped_at
    # git 2.39 to 2.55 cannot write the index of some conflicts between a folder and a file
    if "Unable to write new index file" not in expected.complaint:
        assert set(result.paths) == expected.unmerged
    assert result.messages


@pytest.mark.slow
def test_generated_branches_are_a_mix(sandbox):
    features = Counter(name for seed in SEEDS for name in generate(seed).features)
    results: Counter[str] = Counter()
    for seed in SEEDS[:60]:
        history = generate(seed)
        result = again(repo := empty_repo(sandbox, f"repo-{seed}"), build(repo, history))
        if isinstance(result, Conflict):
            results.update({"conflict"} | {message.split(":")[0] for message in result.messages})
        else:
            results["clean"] += 1
            results["dropped"] += len(result.commits) < len(history.topic)
    assert few(results, conflict=20, clean=20, dropped=2) == {}
    assert few(results, **{f"CONFLICT ({kind})": 1 for kind in KINDS}) == {}
    assert few(features, rename=20, add=20, delete=20, link=20, **FEATURES) == {}


KINDS = ["content", "modify/delete", "add/add", "file/directory", "rename/delete", "file location"]
FEATURES = {
    "rename folder": 20, "change mode": 20, "file to folder": 10, "folder to file": 10,
    "convert line ends": 20, "change attributes": 20, "move gitlink": 10, "empty commit": 10,
    "shared change": 20, "merge.renormalize": 8, "merge.directoryRenames": 8, "diff.algorithm": 8,
    "attributes decide, set by base": 8, "attributes decide, set by onto": 8,
    "attributes decide, set by topic": 8,
}  # fmt: skip


def few(seen: Counter[str], **least: int) -> dict[str, int]:
    return {name: seen[name] for name, enough in least.items() if seen[name] < enough}


class Fork:
    """Two branches that each append to `log.txt` in a repository with a work tree at `onto`."""

    def __init__(
        self, sandbox: Sandbox, files: dict[str, str | bytes | None] | None = None
    ) -> None:
        self.repo = sandbox.repo(files={"log.txt": LINES, "other.txt": LINES} | (files or {}))
        base = self.repo.git("rev-parse", "HEAD")
        topic = self.repo.commit({"log.txt": LINES + "topic\n"}, "topic\n\nwhy\n")
        self.repo.git("checkout", "-q", "--detach", base)
        onto = self.repo.commit({"log.txt": LINES + "onto\n"}, "onto")
        self.ends = Ends(base, onto, topic)

    def replay(self) -> Replayed | Conflict:
        return again(self.repo, self.ends)

    def naive(self) -> int:
        """Return the exit code of a merge in the user's work tree."""
        done = subprocess.run(
            ["git", "merge-tree", "--write-tree", self.ends.onto, self.ends.topic],
            cwd=self.repo.path, capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode


class TestAttributes:
    def test_dirty_ones_do_not_turn_a_conflict_into_a_merge(self, sandbox):
        fork = Fork(sandbox)
        fork.repo.write({".gitattributes": "*.txt merge=union\n"})
        assert fork.naive() == 0
        result = fork.replay()
        assert isinstance(result, Conflict)
        assert result.paths == ("log.txt",)

    def test_dirty_ones_do_not_turn_a_merge_into_a_conflict(self, sandbox):
        fork = Fork(sandbox, {".gitattributes": "*.txt merge=union\n"})
        fork.repo.write({".gitattributes": None})
        assert fork.naive() == 1
        result = fork.replay()
        assert isinstance(result, Replayed)
        assert fork.repo.git("show", f"{result.tip}:log.txt") == LINES + "onto\ntopic"

    def test_those_of_a_folder_count_there(self, sandbox):
        files = {"in/.gitattributes": "log.txt merge=union\n", "in/log.txt": LINES}
        repo = sandbox.repo(files={**files, "log.txt": LINES})
        base = repo.git("rev-parse", "HEAD")
        topic = repo.commit({"in/log.txt": LINES + "topic\n"})
        outside = repo.commit({"log.txt": LINES + "topic\n"})
        repo.git("checkout", "-q", base)
        onto = repo.commit({"in/log.txt": LINES + "onto\n", "log.txt": LINES + "onto\n"})
        assert isinstance(again(repo, Ends(base, onto, topic)), Replayed)
        conflict = again(repo, Ends(base, onto, outside))
        assert isinstance(conflict, Conflict)
        assert (conflict.commit, conflict.paths) == (outside, ("log.txt",))

    def test_those_that_an_earlier_commit_brings_count_for_a_later_one(self, sandbox):
        fork = Fork(sandbox)
        fork.repo.git("checkout", "-q", fork.ends.base)
        fork.repo.commit({".gitattributes": "*.txt merge=union\n"})
        topic = fork.repo.commit({"log.txt": LINES + "topic\n"})
        ends = Ends(fork.ends.base, fork.ends.onto, topic)
        result = again(fork.repo, ends)
        assert isinstance(result, Replayed)
        assert result.tip == rebase(fork.repo, ends).tip

    @pytest.mark.parametrize("place", ["info/attributes", "core.attributesFile"])
    def test_the_users_own_count(self, sandbox, place):
        fork = Fork(sandbox)
        path = fork.repo.git_dir / "info" / "attributes"
        if place == "core.attributesFile":
            path = sandbox.root / "attributes"
            fork.repo.git("config", place, str(path))
        path.parent.mkdir(exist_ok=True)
        path.write_text("*.txt merge=union\n")
        assert isinstance(fork.replay(), Replayed)

    def test_names_that_lead_out_of_the_scratch_folder_are_not_written(self, sandbox):
        fork = Fork(sandbox)
        repo = fork.repo

        def tree(mode: str, name: bytes, oid: str) -> str:
            data = mode.encode() + b" " + name + b"\0" + bytes.fromhex(oid)
            return repo.git("hash-object", "--literally", "-t", "tree", "-w", "--stdin", stdin=data)

        blob = repo.git("hash-object", "-w", "--stdin", stdin=b"* merge=union\n")
        inner = tree("100644", b".gitattributes", blob)
        outer = tree("40000", b"..", tree("40000", b"..", inner))
        git = Git(repo.git_dir)
        assert list(module._attributes(git, outer)) == [("../../.gitattributes", "* merge=union\n")]
        folder = sandbox.root / "folder"
        folder.mkdir()
        module.TreeMerger(git, folder)._lay_out(outer)
        assert list(sandbox.root.rglob(".gitattributes")) == []

    def test_unreadable_attributes_are_an_error(self, sandbox):
        with pytest.raises(GitFailedError, match="attributes"):
            list(module._attributes(Git(sandbox.repo().git_dir), "0" * 40))


class TestOptions:
    """What newer git is asked, also where the git at hand is older."""

    @pytest.fixture
    def options(self, sandbox, monkeypatch):
        repo = sandbox.repo()

        def ask(version: tuple[int, int], *settings: tuple[str, str]):
            monkeypatch.setattr(module, "_version", lambda _: version)
            for name, value in settings:
                repo.git("config", name, value)
            folder = sandbox.root / "folder"
            folder.mkdir()
            return module.TreeMerger(Git(repo.git_dir), folder)._options(repo.tree())

        return ask, f"--attr-source={repo.tree()}"

    def test_attributes_come_from_the_tree_where_git_can(self, options):
        ask, source = options
        assert ask((2, 43), ("diff.algorithm", "patience")) == ([source], [])

    def test_older_git_is_not_asked(self, options):
        ask, _ = options
        assert ask((2, 42), ("diff.algorithm", "patience")) == ([], [])

    def test_a_source_would_hide_the_merged_attributes_from_renormalizing(self, options):
        ask, _ = options
        assert ask((2, 50), ("merge.renormalize", "true")) == ([], [])

    def test_the_users_diff_algorithm_is_passed_on_where_a_rebase_heeds_it(self, options):
        ask, source = options
        wanted = ([source], ["-Xdiff-algorithm=patience"])
        assert ask((2, 50), ("diff.algorithm", "patience")) == wanted


def contents(folder: Path, *, leaving_out: tuple[str, ...] = ()) -> dict[str, bytes | str]:
    """Return every file below a folder with its content, mode and time of change."""
    return {
        str(path.relative_to(folder)): f"{path.stat().st_mode} {path.stat().st_mtime_ns} "
        + hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.relative_to(folder).as_posix().startswith(leaving_out)
    }


class TestWhatIsLeft:
    def test_nothing_of_the_users_changes(self, sandbox):
        fork = Fork(sandbox)
        repo = fork.repo
        repo.git("fetch", "-q", ".", "main")
        repo.write({"other.txt": "stashed\n"})
        repo.git("stash", "-q")
        repo.write({"other.txt": "dirty\n", "untracked": "x"})
        repo.git("add", "other.txt")
        repo.write({"other.txt": "dirtier\n"})
        before = contents(repo.path, leaving_out=(".git/objects/",))
        assert {".git/FETCH_HEAD", ".git/index", ".git/HEAD", ".git/refs/stash"} <= set(before)
        assert isinstance(fork.replay(), Conflict)
        repo.git("config", "merge.both.driver", "cat %B >>%A")
        (repo.git_dir / "info" / "attributes").write_text("* merge=both\n")
        before = contents(repo.path, leaving_out=(".git/objects/",))
        assert isinstance(fork.replay(), Replayed)
        assert contents(repo.path, leaving_out=(".git/objects/",)) == before

    def test_a_driver_does_not_run_in_the_users_work_tree(self, sandbox):
        fork = Fork(sandbox, {".gitattributes": "*.txt merge=where\n"})
        fork.repo.git("config", "merge.where.driver", f"pwd >'{sandbox.root}/where'; cp -f %B %A")
        assert isinstance(fork.replay(), Replayed)
        assert Path((sandbox.root / "where").read_text().strip()).parents[1].name == "scratch"

    def test_a_merge_that_git_cannot_do_is_an_error_and_leaves_nothing(self, sandbox):
        fork = Fork(sandbox)
        blob = fork.repo.git("rev-parse", f"{fork.ends.topic}:log.txt")
        (fork.repo.git_dir / "objects" / blob[:2] / blob[2:]).unlink()
        with pytest.raises(GitFailedError, match="merge-tree"):
            fork.replay()
        assert list((sandbox.root / "scratch").iterdir()) == []

    @pytest.mark.parametrize("name", ["scratch", 'a:b "c\\ \n d'])
    def test_the_scratch_folder_is_empty_again(self, sandbox, name):
        fork = Fork(sandbox)
        scratch = sandbox.root / name
        assert isinstance(again(fork.repo, fork.ends, scratch), Conflict)
        fork.repo.git("config", "merge.default", "union")
        assert isinstance(again(fork.repo, fork.ends, scratch), Replayed)
        assert list(scratch.iterdir()) == []

    def test_no_commit_but_the_new_ones_gets_into_the_repository(self, sandbox):
        fork = Fork(sandbox)

        def commits() -> set[str]:
            listed = fork.repo.git("cat-file", "--batch-all-objects", "--batch-check").splitlines()
            return {line.split()[0] for line in listed if " commit " in line}

        before = commits()
        fork.replay()
        assert commits() == before
        fork.repo.git("config", "merge.default", "union")
        result = fork.replay()
        assert commits() - before == {result.tip}

    def test_rerere_neither_helps_nor_learns(self, sandbox):
        fork = Fork(sandbox)
        fork.repo.git("config", "rerere.enabled", "true")
        fork.repo.git("config", "rerere.autoUpdate", "true")
        fork.repo.git("cherry-pick", fork.ends.topic, check=False)
        fork.repo.commit({"log.txt": "resolved\n"})
        fork.repo.git("reset", "-q", "--hard", fork.ends.onto)
        fork.repo.git("cherry-pick", fork.ends.topic, check=False)
        assert (fork.repo.path / "log.txt").read_text() == "resolved\n"
        before = contents(fork.repo.git_dir / "rr-cache")
        assert before
        assert isinstance(fork.replay(), Conflict)
        assert contents(fork.repo.git_dir / "rr-cache") == before


class TestCommits:
    def test_author_message_and_encoding_are_preserved_byte_for_byte(self, sandbox):
        repo = sandbox.repo(files={"a": "1\n"})
        base = repo.git("rev-parse", "HEAD")
        onto = repo.commit({"b": "2\n"})
        tree = repo.git(
            "mktree",
            stdin=repo.git("ls-tree", base).encode()
            + b"\n"
            + repo.git("ls-tree", base).replace("\ta", "\tc").encode()
            + b"\n",
        )
        author = b"author Jos\xe9 J. <j@x> 1234567890 -0730\n"
        message = b"\n\n  caf\xe9 \n\n# kept\n\ntrailer: no newline"
        body = (
            f"tree {tree}\nparent {base}\n".encode() + author
            + b"committer Old <old@x> 1234567890 +0000\nencoding ISO-8859-1\n"
            b"gpgsig -----BEGIN\n encoding fake\n \n -----END\nchange-id zz\n\n" + message
        )  # fmt: skip
        tip = repo.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=body)
        result = again(repo, Ends(base, onto, tip))
        assert isinstance(result, Replayed)
        raw = subprocess.run(
            ["git", "cat-file", "commit", result.tip],
            cwd=repo.path,
            capture_output=True,
            check=True,
        ).stdout
        assert raw == (
            f"tree {repo.tree(result.tip)}\nparent {onto}\n".encode() + author
            + b"committer Ada <ada@example.com> 1767323045 +0000\nencoding ISO-8859-1\n\n" + message
        )  # fmt: skip
        assert repo.git("ls-tree", "--name-only", result.tip).split() == ["a", "b", "c"]

    def test_the_committer_can_be_given(self, sandbox, monkeypatch):
        fork = Fork(sandbox, {".gitattributes": "* merge=union\n"})
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        with pytest.raises(GitFailedError, match="GIT_COMMITTER_IDENT"):
            fork.replay()
        ends = fork.ends
        result = replay(
            Git(fork.repo.git_dir), base=ends.base, tip=ends.topic, onto=ends.onto,
            scratch=sandbox.root, committer="Bo <bo@x> 5 +0100",
        )  # fmt: skip
        told = fork.repo.git("log", "-1", "--format=%cn %ce %cd", "--date=raw", result.tip)
        assert told == "Bo bo@x 5 +0100"

    @pytest.mark.parametrize("object_format", ["sha1", "sha256"])
    def test_every_object_format(self, sandbox, object_format):
        repo = sandbox.repo(object_format=object_format, files={"log.txt": LINES})
        base = repo.git("rev-parse", "HEAD")
        repo.commit({"log.txt": LINES + "topic\n"})
        topic = repo.commit({"new": "1\n"})
        repo.git("checkout", "-q", base)
        onto = repo.commit({"log.txt": "onto\n" + LINES})
        ends = Ends(base, onto, topic)
        result = again(repo, ends)
        assert isinstance(result, Replayed)
        assert len(result.tip) == len(base)
        assert result.tip == rebase(repo, ends).tip
        repo.git("fsck", "--strict")
        clash = repo.commit({"log.txt": LINES + "onto\n"})
        assert again(repo, Ends(base, clash, topic)).paths == ("log.txt",)

    def test_a_branch_already_on_its_new_base_stays_as_it_is(self, sandbox):
        fork = Fork(sandbox)
        ends = Ends(fork.ends.base, fork.ends.base, fork.ends.topic)
        tip = fork.ends.topic
        assert again(fork.repo, ends) == Replayed(tip, ((tip, tip),))

    def test_only_commits_whose_parent_changed_are_rewritten(self, sandbox):
        repo = sandbox.repo()
        base = repo.git("rev-parse", "HEAD")
        first = repo.commit({"a": "1\n"})
        second = repo.commit({"b": "1\n"})
        assert again(repo, Ends(base, first, second)) == Replayed(second, ((second, second),))

    def test_a_change_already_there_is_dropped_and_an_empty_commit_is_kept(self, sandbox):
        repo = sandbox.repo(files={"a": LINES})
        base = repo.git("rev-parse", "HEAD")
        shared = repo.commit({"a": LINES + "same\n"})
        empty = repo.commit({}, "empty from the start")
        last = repo.commit({"b": "1\n"})
        repo.git("checkout", "-q", base)
        onto = repo.commit({"a": LINES + "same\n", "c": "1\n"})
        ends = Ends(base, onto, last)
        result = again(repo, ends)
        assert result.tip == rebase(repo, ends).tip
        assert [old for old, _ in result.commits] == [empty, last]
        assert again(repo, Ends(base, onto, shared)) == Replayed(onto, ())

    def test_no_commits_at_all(self, sandbox):
        fork = Fork(sandbox)
        ends = fork.ends
        assert again(fork.repo, Ends(ends.base, ends.onto, ends.base)) == Replayed(ends.onto, ())
        assert again(fork.repo, Ends(ends.topic, ends.onto, ends.base)) == Replayed(ends.onto, ())

    def test_a_long_branch(self, sandbox):
        repo = empty_repo(sandbox)
        trees: list[Tree] = [{b"a": (FILE, b"%d\n" % n)} for n in range(14)]
        line = [(f"c{n}\n", tree, n - 1) for n, tree in enumerate(trees)]
        ids = write_commits(repo, [*line, ("onto\n", trees[0] | {b"b": (FILE, b"")}, 0)])
        ends = Ends(ids[0], ids[14], ids[13])
        result = again(repo, ends)
        assert [old for old, _ in result.commits] == ids[1:14]
        assert result.tip == rebase(repo, ends).tip

    def test_merges_are_left_out(self, sandbox):
        repo = sandbox.repo()
        base = repo.git("rev-parse", "HEAD")
        repo.commit({"a": "1\n"}, "one side")
        repo.git("checkout", "-q", "-b", "side", base)
        repo.commit({"b": "1\n"}, "other side")
        repo.git("merge", "-q", "--no-edit", "main")
        topic = repo.commit({"c": "1\n"}, "after")
        repo.git("checkout", "-q", base)
        onto = repo.commit({"d": "1\n"})
        for ends in (Ends(base, onto, topic), Ends(base, base, topic)):
            result = again(repo, ends)
            assert len(result.commits) == 3
            assert result.tip == rebase(repo, ends).tip
            repo.git("worktree", "remove", "--force", f"{repo.path}-rebased")

    def test_a_root(self, sandbox):
        repo = sandbox.repo(files={"a": "1\n"})
        onto = repo.git("rev-parse", "HEAD")
        repo.git("checkout", "-q", "--orphan", "other")
        repo.git("rm", "-q", "-f", "a")
        repo.commit({"b": "1\n"}, "root")
        topic = repo.commit({"b": "2\n"}, "second")
        ends = Ends(onto, onto, topic)
        result = again(repo, ends)
        assert len(result.commits) == 2
        assert result.tip == rebase(repo, ends).tip
        clash = repo.commit({"b": "other\n"})
        assert again(repo, Ends(onto, clash, topic)).paths == ("b",)

    def test_any_name_of_a_commit_works_and_others_are_an_error(self, sandbox):
        fork = Fork(sandbox, {".gitattributes": "* merge=union\n"})
        fork.repo.git("tag", "-a", "-m", "x", "mark", fork.ends.topic)
        named = again(fork.repo, Ends("main~1", "HEAD", "mark"))
        assert named == fork.replay()
        with pytest.raises(GitFailedError, match="not a commit in this repository"):
            again(fork.repo, Ends("HEAD", "HEAD", "nowhere"))

    def test_from_a_linked_worktree(self, sandbox):
        fork = Fork(sandbox, {".gitattributes": "* merge=union\n"})
        fork.repo.git("worktree", "add", "-q", "--detach", str(sandbox.root / "linked"))
        git = Git(fork.repo.git_dir / "worktrees" / "linked", work_tree=sandbox.root / "linked")
        ends, scratch = fork.ends, sandbox.root / "scratch"
        result = replay(git, base=ends.base, tip=ends.topic, onto=ends.onto, scratch=scratch)
        assert result == fork.replay()


class TestConflict:
    def test_a_conflict_names_paths_and_the_real_commits(self, sandbox):
        repo = sandbox.repo(files={"a": LINES, "d/x": LINES})
        base = repo.git("rev-parse", "HEAD")
        repo.git("rm", "-q", "d/x")
        topic = repo.commit({"a": LINES + "topic\n", "d": "now a file\n"})
        repo.git("checkout", "-q", base)
        onto = repo.commit({"a": None, "d/x": LINES + "more\n"})
        ends = Ends(base, onto, topic)
        conflict = again(repo, ends)
        assert conflict.commit == topic
        assert conflict.paths == ("a", "d", "d/x")
        assert set(conflict.paths) == rebase(repo, ends).unmerged
        ours, theirs = onto[:12], topic[:12]
        aside = (
            f"CONFLICT (file/directory): directory in the way of d from {theirs}; "
            f"moving it to d~{theirs} instead."
        )
        deleted = "CONFLICT (modify/delete): {} deleted in {} and modified in {}. "
        assert sorted(conflict.messages) == [
            aside,
            deleted.format("a", ours, theirs) + f" Version {theirs} of a left in tree.",
            deleted.format("d/x", theirs, ours) + f" Version {ours} of d/x left in tree.",
        ]

    def test_paths_may_be_any_bytes(self, sandbox):
        repo = empty_repo(sandbox)
        name = b'- \n"\xff'
        trees: list[Tree] = [{name: (FILE, b"%d\n" % n)} for n in range(3)]
        base, onto, topic = write_commits(
            repo, [("b\n", trees[0], -1), ("o\n", trees[1], 0), ("t\n", trees[2], 0)]
        )
        conflict = again(repo, Ends(base, onto, topic))
        assert [os.fsencode(path) for path in conflict.paths] == [name]

    def test_names_the_commit_that_does_not_apply(self, sandbox):
        fork = Fork(sandbox)
        fork.repo.git("checkout", "-q", fork.ends.base)
        fork.repo.commit({"fine.txt": "1\n"})
        bad = fork.repo.commit({"log.txt": LINES + "bad\n"})
        tip = fork.repo.commit({"after.txt": "1\n"})
        conflict = again(fork.repo, Ends(fork.ends.base, fork.ends.onto, tip))
        assert conflict.commit == bad


def test_one_commit_costs_few_processes(sandbox, monkeypatch):
    fork = Fork(sandbox, {".gitattributes": "* merge=union\n"})
    fork.replay()
    started = []
    run = process.run

    def counted(argv, **rest):
        started.append([word for word in argv if not word.startswith("-") and "=" not in word][1])
        return run(argv, **rest)

    monkeypatch.setattr(process, "run", counted)
    ends, scratch = fork.ends, sandbox.root / "scratch"
    replay(
        Git(fork.repo.git_dir), base=ends.base, tip=ends.topic, onto=ends.onto, scratch=scratch,
        committer="Ada <ada@example.com> 1 +0000",
    )  # fmt: skip
    assert started in (
        ["cat-file", "grep", "merge-tree", "hash-object"],
        ["cat-file", "config", "merge-tree", "hash-object"],
    )
