"""Notes: git reads gitmill's notes, gitmill reads git's in any fan-out, no writer loses one."""

from __future__ import annotations

import pytest

from gitmill.errors import RefMovedError
from gitmill.git import trees
from gitmill.git.notes import read_note, write_notes
from gitmill.git.objects import read_commit
from tests.support.workers import IDENT, Kind, at_once

NOTES = "refs/notes/gitmill"


@pytest.fixture
def commits(repo):
    return [repo.commit({}, f"commit {n}") for n in range(6)]


def write(backend, commit, note):
    backend.swap([write_notes(backend, NOTES, {commit: note}, ident=IDENT)])


def paths(backend):
    return [path for path, _ in trees.walk(backend, read_commit(backend, backend.ref(NOTES)).tree)]


def test_git_reads_our_notes(repo, backend, commits):
    for number, commit in enumerate(commits):
        write(backend, commit, f"note {number}\n".encode())
    for number, commit in enumerate(commits):
        assert repo.git("notes", "--ref=gitmill", "show", commit) == f"note {number}"
        assert read_note(backend, NOTES, commit) == f"note {number}\n".encode()
    assert paths(backend) == sorted(f"{commit[:2]}/{commit[2:]}" for commit in commits)
    assert repo.git("log", "-1", "--format=%s%n%an <%ae> %at", NOTES) == (
        f"note on {commits[-1][:12]}\nAda <ada@example.com> 0"
    )
    assert repo.git("rev-list", "--count", NOTES) == "6"


def test_a_note_is_replaced_and_nothing_else_is_touched(repo, backend, commits):
    for text in (b"one\n", b"\xff\0binary", b""):
        write(backend, commits[0], text)
        assert read_note(backend, NOTES, commits[0]) == text
    write(backend, commits[1], b"other\n")
    assert read_note(backend, NOTES, commits[0]) == b""
    assert len(paths(backend)) == 2


def test_many_notes_are_one_move(repo, backend, commits):
    write(backend, commits[0], b"old\n")
    new = {commit: f"note {number}\n".encode() for number, commit in enumerate(commits[:4])}
    backend.swap([write_notes(backend, NOTES, new, ident=IDENT)])
    assert {commit: read_note(backend, NOTES, commit) for commit in new} == new
    assert repo.git("notes", "--ref=gitmill", "show", commits[0]) == "note 0"
    assert repo.git("log", "--format=%s", NOTES) == (
        f"notes on 4 commits\nnote on {commits[0][:12]}"
    )


def test_without_notes_there_is_none(backend, commits):
    assert read_note(backend, NOTES, commits[0]) is None
    write(backend, commits[0], b"x")
    assert read_note(backend, NOTES, commits[1]) is None
    same_folder = commits[0][:2] + commits[1][2:]
    assert read_note(backend, NOTES, same_folder) is None


@pytest.mark.parametrize("cuts", [[], [2], [2, 4], [2, 4, 6]])
def test_any_fan_out_is_read_and_replaced(repo, backend, commits, cuts):
    def spread(commit):
        return "/".join(commit[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True))

    lines = [
        f"M 100644 inline {spread(commit)}\ndata 6\nold {n}\n\n" for n, commit in enumerate(commits)
    ]
    head = f"commit {NOTES}\ncommitter A <a@b> 1 +0000\ndata 1\nx\n"
    repo.git("fast-import", "--quiet", stdin=(head + "".join(lines)).encode())
    for number, commit in enumerate(commits):
        assert read_note(backend, NOTES, commit) == f"old {number}\n".encode()
    write(backend, commits[0], b"new\n")
    assert repo.git("notes", "--ref=gitmill", "show", commits[0]) == "new"
    assert [read_note(backend, NOTES, commit) for commit in commits] == [
        b"new\n", *(f"old {n}\n".encode() for n in range(1, 6)),
    ]  # fmt: skip
    assert len(paths(backend)) == len(commits)


def test_notes_that_git_has_written_over_ours(repo, backend, commits):
    write(backend, commits[0], b"ours\n")
    repo.git("notes", "--ref=gitmill", "append", "-m", "theirs", commits[0])
    repo.git("notes", "--ref=gitmill", "add", "-m", "new", commits[1])
    assert read_note(backend, NOTES, commits[0]) == b"ours\n\ntheirs\n"
    assert read_note(backend, NOTES, commits[1]) == b"new\n"
    repo.git("notes", "--ref=gitmill", "remove", commits[0])
    assert read_note(backend, NOTES, commits[0]) is None


def test_git_with_hundreds_of_notes_fans_out_and_is_read(repo, backend, kind):
    blobs = [repo.git("hash-object", "-w", "--stdin", stdin=b"%d" % n) for n in range(3)]
    ids = [f"{n:03x}{'0' * (kind.digits - 3)}" for n in range(0, 4096, 8)]
    stream = [f"commit {NOTES}\ncommitter A <a@b> 1 +0000\ndata 1\nx\n"]
    stream += [f"M 100644 {blobs[n % 3]} {oid}\n" for n, oid in enumerate(ids)]
    repo.git("fast-import", "--quiet", stdin="".join(stream).encode())
    head = repo.git("rev-parse", "HEAD")
    repo.git("notes", "--ref=gitmill", "add", "-m", "mine", head)
    assert any("/" in path for path in paths(backend))  # git has fanned out
    assert read_note(backend, NOTES, head) == b"mine\n"
    for n in (0, 100, 511):
        assert read_note(backend, NOTES, ids[n]) == b"%d" % (n % 3)


def test_a_write_that_came_late_is_refused(repo, backend, commits):
    late = write_notes(backend, NOTES, {commits[0]: b"late\n"}, ident=IDENT)
    write(backend, commits[1], b"first\n")
    with pytest.raises(RefMovedError):
        backend.swap([late])
    assert read_note(backend, NOTES, commits[0]) is None
    write(backend, commits[0], b"again\n")
    assert read_note(backend, NOTES, commits[1]) == b"first\n"


@pytest.mark.slow
def test_no_note_of_many_writers_is_lost(sandbox):
    repo = sandbox.repo("many")
    commits = [repo.commit({}, f"commit {n}") for n in range(60)]
    kinds = [Kind("libgit2", "sha1")] * 3 + [Kind("plumbing", "sha1")]
    at_once(repo.path, "note", *((kind, [NOTES, *commits[n::4]]) for n, kind in enumerate(kinds)))
    listed = repo.git("notes", "--ref=gitmill", "list").splitlines()
    assert sorted(line.split()[1] for line in listed) == sorted(commits)
    texts = {repo.git("notes", "--ref=gitmill", "show", c).split()[1]: c for c in commits}
    assert all(told == commit for told, commit in texts.items())
    assert repo.git("rev-list", "--count", NOTES) == "60"
