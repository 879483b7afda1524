"""The contract of the backends, over every repository format; ids are always those of git."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitmill.errors import GitFailedError, RefMovedError
from gitmill.git.objects import (
    FILE,
    GITLINK,
    SYMLINK,
    TREE,
    Commit,
    Entry,
    MissingObjectError,
    Move,
    encode_commit,
    encode_tree,
    parse_commit,
    parse_tree,
    raw,
    read_commit,
    text,
    write_commit,
)
from gitmill.git.plumbing import Plumbing
from tests.support.seeds import times
from tests.support.threads import nothing_left, together
from tests.support.workers import IDENT, Kind, at_once, open_backend

A, B, C = "refs/gitmill/work/a", "refs/gitmill/work/b", "refs/heads/gitmill/state"


@pytest.fixture
def commits(repo, backend):
    """Four commits that no ref names."""
    tree = repo.tree()
    return [write_commit(backend, Commit(tree, (), IDENT, IDENT, f"{n}\n")) for n in range(4)]


def at(repo, ref):
    return repo.git("rev-parse", "--verify", "-q", ref, check=False) or None


def refused(backend, *moves):
    with pytest.raises(RefMovedError):
        backend.swap(moves)


# Objects


@settings(max_examples=times(10))
@given(data=st.binary(max_size=300))
def test_a_written_object_can_be_read_and_has_gits_id(repo, backend, kind, data):
    oid = backend.write("blob", data)
    assert len(oid) == kind.digits == backend.digits
    assert oid == repo.git("hash-object", "--stdin", stdin=data)
    assert backend.read(oid) == ("blob", data)


def test_writing_goes_on_while_a_gc_removes_folders_that_are_empty(repo, backend, kind):
    code = (
        "import os, sys\n"
        "from contextlib import suppress\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    for number in range(256):\n"
        "        with suppress(OSError):\n"
        "            os.rmdir(f'{sys.argv[1]}/{number:02x}')\n"
    )
    gc = subprocess.Popen(
        [sys.executable, "-c", code, repo.git_dir / "objects"], stdout=subprocess.PIPE
    )
    try:
        assert gc.stdout.readline() == b"ready\n"
        times = 2000 if kind.backend == "libgit2" else 20
        ids = [backend.write("blob", b"%d" % number) for number in range(times)]
    finally:
        gc.kill()
        gc.wait()
        gc.stdout.close()
    assert [backend.read(oid)[1] for oid in ids] == [b"%d" % number for number in range(times)]


def test_objects_of_every_type_and_size(repo, backend):
    repo.git("tag", "-a", "-m", "a tag", "v1")
    for revision, kind in (
        ("HEAD", "commit"),
        ("HEAD^{tree}", "tree"),
        ("v1", "tag"),
        ("HEAD:a.txt", "blob"),
    ):
        oid = repo.git("rev-parse", revision)
        found, data = backend.read(oid)
        assert found == kind
        assert backend.write(kind, data) == oid
    large = os.urandom(3_000_000)
    for data in (b"", b"\n", b"a\0b\nc", large):
        assert backend.read(backend.write("blob", data)) == ("blob", data)
    assert backend.write("tree", b"") == repo.git("mktree", stdin=b"")


def test_a_missing_object_is_an_error_and_the_next_one_is_read(repo, backend, kind):
    nothing = "12" * (kind.digits // 2)
    for _ in range(2):
        with pytest.raises(MissingObjectError, match="there is no object 121212121212"):
            backend.read(nothing)
        assert backend.read(repo.git("rev-parse", "HEAD:a.txt")) == ("blob", b"a\n")
    with pytest.raises(MissingObjectError, match="is a blob, not a commit"):
        read_commit(backend, repo.git("rev-parse", "HEAD:a.txt"))


def test_objects_that_others_write_and_pack_meanwhile_are_found(repo, backend):
    assert backend.read(repo.git("rev-parse", "HEAD:a.txt"))[1] == b"a\n"
    repo.commit({"b.txt": "b\n"})
    assert backend.read(repo.git("rev-parse", "HEAD:b.txt"))[1] == b"b\n"
    mine = backend.write("blob", b"mine\n")
    repo.git("tag", "keep", mine)
    repo.git("gc", "-q", "--prune=now")
    assert backend.read(mine)[1] == b"mine\n"
    assert backend.read(repo.git("rev-parse", "HEAD~1"))[0] == "commit"


def test_a_reader_that_was_killed_is_not_an_empty_repository(sandbox):
    repo = sandbox.repo("killed")
    backend = open_backend(repo.path, Kind("plumbing", "sha1"))
    head = repo.git("rev-parse", "HEAD")
    assert backend.read(head)[0] == "commit"
    reader = backend._readers.get()
    reader.kill()
    reader.wait()
    with pytest.raises(GitFailedError, match="git ended before it had read"):
        backend.read(head)
    assert backend.read(head)[0] == "commit"


# Trees and commits as bytes


names = st.binary(min_size=1, max_size=4).filter(
    lambda name: not set(name) & {0, ord("/")} and name.lower() not in (b".", b"..", b".git")
)
near = st.sampled_from([b"a", b"a.b", b"a-", b"a0", b"ab", b"A", b"a\xff", b"a\n", b"-a", b" "])


@settings(max_examples=times(10))
@given(data=st.data())
def test_trees_have_the_ids_that_git_gives_them(repo, backend, kind, data):
    wanted = data.draw(st.lists(near | names, unique=True, max_size=8))
    oids = {
        FILE: repo.git("rev-parse", "HEAD:a.txt"),
        TREE: repo.tree(),
        GITLINK: "12" * (kind.digits // 2),
    }
    oids |= {SYMLINK: oids[FILE], "100755": oids[FILE]}
    entries = []
    for name in wanted:
        mode = data.draw(st.sampled_from(sorted(oids)))
        entries.append(Entry(text(name), mode, oids[mode]))
    types = {TREE: "tree", GITLINK: "commit"}
    listing = b"".join(
        f"{e.mode:0>6} {types.get(e.mode, 'blob')} {e.oid}\t".encode() + raw(e.name) + b"\0"
        for e in entries
    )
    encoded = encode_tree(entries)
    oid = repo.git("mktree", "-z", stdin=listing)
    assert backend.write("tree", encoded) == oid
    assert backend.read(oid) == ("tree", encoded)
    assert sorted(parse_tree(encoded, kind.digits), key=Entry.sort_key.fget) == sorted(
        entries, key=Entry.sort_key.fget
    )


@settings(max_examples=times(8))
@given(
    message=st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    parents=st.integers(0, 3),
    seconds=st.integers(0, 2**31),
)
def test_commits_have_the_ids_that_git_gives_them(repo, backend, message, parents, seconds):
    tree, head = repo.tree(), repo.git("rev-parse", "HEAD")
    over = [
        write_commit(backend, Commit(tree, (head,), IDENT, IDENT, f"{n}")) for n in range(parents)
    ]
    commit = Commit(
        tree, tuple(over), f"Ada Ö <ada@example.com> {seconds} +0530", IDENT, message
    )  # fmt: skip
    env = ["GIT_AUTHOR_NAME=Ada Ö", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada"]
    env += [f"GIT_AUTHOR_DATE=@{seconds} +0530", "GIT_COMMITTER_DATE=@0 +0000"]
    args = [arg for parent in over for arg in ("-p", parent)]
    made = env_git(repo, env, "commit-tree", tree, *args, stdin=message.encode())
    assert write_commit(backend, commit) == made
    assert read_commit(backend, made) == commit
    assert (commit.seconds, commit.author_name) == (0, "Ada Ö")


def env_git(repo, env, *args, stdin=b""):
    given_ = dict(pair.split("=", 1) for pair in env)
    old = {name: os.environ.get(name) for name in given_}
    os.environ.update(given_)
    try:
        return repo.git(*args, stdin=stdin)
    finally:
        for name, value in old.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


TREE_LINE, WHO = b"tree " + b"ab" * 20 + b"\n", b"Ada <a@b> 1 +0000\n"
HEAD = TREE_LINE + b"parent " + b"cd" * 20 + b"\n" + b"author " + WHO + b"committer " + WHO
SIGNED = b"gpgsig -----BEGIN PGP SIGNATURE-----\n \n abc\n =x\n -----END PGP SIGNATURE-----\n"
TAGGED = (
    b"mergetag object "
    + b"ef" * 20
    + b"\n type commit\n tag v1\n tagger A <a@b> 1 +0000\n \n text\n"
)


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"\nmessage\n",
        HEAD + b"\n",
        HEAD + b"\n\n\nno subject\n\n",
        HEAD + SIGNED + b"\nsigned\n",
        HEAD + TAGGED + SIGNED + b"\nboth\n",
        HEAD + b"encoding ISO-8859-1\n\nGr\xfc\xdfe\n",
        HEAD.replace(b"Ada", b"J\xf6rg <x") + b"\nx",
        HEAD.replace(b"Ada ", b"") + b"\nno name\n",
        HEAD.replace(b"parent", b"parent " + b"12" * 20 + b"\nparent") + b"\noctopus\n",
        TREE_LINE + b"author " + WHO + b"committer " + WHO + b"\nroot\n",
        HEAD + b"HG:extra x\\n\nHG:rename-source y\n\nfrom elsewhere",
    ],
)
def test_any_commit_is_preserved_byte_for_byte(data):
    commit = parse_commit(data)
    assert encode_commit(commit) == data
    assert commit.tree == "ab" * 20
    assert commit.seconds == 1
    assert [value for name, value in commit.headers if name == "parent"] == []


def test_a_signed_commit_is_preserved_byte_for_byte(repo, backend, sandbox):
    fake = sandbox.root / "gpg"
    fake.write_text(
        "#!/bin/sh\ncat >/dev/null\nprintf '[GNUPG:] SIG_CREATED \\n' >&2\n"
        "printf -- '-----BEGIN PGP SIGNATURE-----\\n\\nabc\\n-----END PGP SIGNATURE-----\\n'\n"
    )
    fake.chmod(0o755)
    repo.git("-c", f"gpg.program={fake}", "commit", "-q", "--allow-empty", "-S", "-m", "signed")
    oid = repo.git("rev-parse", "HEAD")
    commit = read_commit(backend, oid)
    assert [name.removesuffix("-sha256") for name, _ in commit.headers] == ["gpgsig"]
    assert backend.write("commit", encode_commit(commit)) == oid


# Refs


def test_a_ref_is_read_by_its_whole_name_only(repo, backend, commits):
    head = repo.git("rev-parse", "HEAD")
    assert backend.ref("refs/heads/main") == head
    repo.git("update-ref", "refs/tags/refs/heads/other", commits[0])
    repo.git("update-ref", "refs/heads/refs/heads/other", commits[0])
    repo.git("update-ref", "refs/heads/deep/er", commits[0])
    for name in ("main", "heads/main", "refs/heads/other", "refs/heads/main~0", "refs/heads/deep",
                 "refs/heads/no", "refs/heads/a b", "refs/heads/a..b", "refs/heads/"):  # fmt: skip
        assert backend.ref(name) is None
    repo.git("pack-refs", "--all")
    assert backend.ref("refs/heads/main") == head
    repo.git("update-ref", "refs/heads/main", commits[1])
    assert backend.ref("refs/heads/main") == commits[1]
    repo.git("tag", "-a", "-m", "x", "v1")
    assert backend.ref("refs/tags/v1") == repo.git("rev-parse", "v1")


def test_a_symbolic_ref_is_followed(repo, backend, commits):
    repo.git("symbolic-ref", "refs/heads/alias", "refs/heads/main")
    repo.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/nowhere")
    head = repo.git("rev-parse", "HEAD")
    assert backend.ref("refs/heads/alias") == head
    assert backend.ref("refs/remotes/origin/HEAD") is None
    assert backend.refs("refs/") == {"refs/heads/alias": head, "refs/heads/main": head}
    backend.swap([Move("refs/heads/alias", commits[0], head)])
    assert repo.git("symbolic-ref", "refs/heads/alias") == "refs/heads/main"
    assert at(repo, "refs/heads/main") == commits[0]


@pytest.mark.parametrize("content", ["", "garbage\n", "\n"])
def test_a_broken_ref_is_not_an_absent_one(repo, backend, kind, content):
    if kind.ref_format != "files":
        pytest.skip("there is no file to break")
    (repo.git_dir / "refs/heads/gitmill").mkdir()
    (repo.git_dir / C).write_text(content)
    with pytest.raises(GitFailedError, match="the ref refs/heads/gitmill/state cannot be read"):
        backend.ref(C)
    with pytest.raises((GitFailedError, RefMovedError)):
        backend.swap([Move(C, repo.git("rev-parse", "HEAD"), None)])
    assert (repo.git_dir / C).read_text() == content


def test_refs_are_listed_by_prefix_in_order(repo, backend, commits):
    names = ["refs/gitmill/work/b", "refs/gitmill/work/a-b", "refs/gitmill/work/a", "refs/gitmill/workshop",
             "refs/gitmill/work/a.b", "refs/heads/x\x85y"]  # fmt: skip
    if sys.platform == "linux":
        names.append("refs/heads/latin\udce9")
    for number, name in enumerate(names):
        repo.git("update-ref", name, commits[number % 4])
    expected = {name: commits[number % 4] for number, name in enumerate(names)}
    for _ in ("loose", "packed"):
        for prefix in (
            "refs/gitmill/work/",
            "refs/gitmill/work",
            "refs/gitmill/work/a",
            "refs/gitmill/no",
            "refs/",
        ):
            found = backend.refs(prefix)
            assert {name: oid for name, oid in found.items() if name != "refs/heads/main"} == {
                name: oid for name, oid in expected.items() if name.startswith(prefix)
            }
            assert list(found) == sorted(found)
        for name, oid in expected.items():
            assert backend.ref(name) == oid
        repo.git("pack-refs", "--all")


# Swapping


@pytest.mark.parametrize("packed", [False, True])
def test_a_ref_is_made_moved_and_deleted(repo, backend, commits, packed):
    one, two, *_ = commits
    for move, after in (
        (Move(A, one, None), one),
        (Move(A, two, one), two),
        (Move(A, two, two), two),
        (Move(A, None, two), None),
        (Move(A, None, None), None),
        (Move(A, one, None), one),
    ):
        backend.swap([move])
        assert at(repo, A) == backend.ref(A) == after
        if packed:
            repo.git("pack-refs", "--all")
    assert backend.ref("refs/heads/main") == repo.git("rev-parse", "HEAD")


@pytest.mark.parametrize("packed", [False, True])
def test_a_ref_that_is_not_where_it_was_expected_stays(repo, backend, commits, packed):
    one, two, three, _ = commits
    repo.git("update-ref", A, one)
    if packed:
        repo.git("pack-refs", "--all")
    for move in (
        Move(A, two, None), Move(A, two, three), Move(A, None, two), Move(A, None, None),
        Move(B, two, one), Move(B, None, one), Move(A, one, two), Move(A, one, None),
    ):  # fmt: skip
        refused(backend, move)
        assert (at(repo, A), at(repo, B)) == (one, None)
    backend.swap([Move(A, two, one)])
    assert at(repo, A) == two


def test_several_refs_move_together_or_not_at_all(repo, backend, commits):
    one, two, three, four = commits
    backend.swap([Move(C, one, None), Move(A, two, None), Move(B, None, None)])
    assert [at(repo, ref) for ref in (A, B, C)] == [two, None, one]
    before = backend.refs("refs/")
    good = [Move(C, three, one), Move(A, None, two), Move(B, four, None)]
    bad = [Move("refs/tags/no", None, one), Move("refs/heads/main", one, two)]
    for wrong in bad:
        for place in range(len(good) + 1):
            refused(backend, *good[:place], wrong, *good[place:])
            assert backend.refs("refs/") == before
    assert not list(repo.git_dir.rglob("*.lock"))
    backend.swap(good)
    assert [at(repo, ref) for ref in (A, B, C)] == [None, four, three]


def test_a_ref_in_the_way_of_another_is_refused(repo, backend, commits):
    one, two, *_ = commits
    backend.swap([Move(A, one, None)])
    before = backend.refs("refs/")
    refused(backend, Move(f"{A}/below", two, None), Move(C, two, None))
    refused(backend, Move("refs/gitmill/work", two, None))
    assert backend.refs("refs/") == before


def test_a_lock_of_another_process_is_respected(repo, backend, kind, commits):
    if kind.ref_format != "files":
        pytest.skip("reftable has one lock for all")
    backend.swap([Move(A, commits[0], None)])
    lock = repo.git_dir / f"{A}.lock"
    lock.touch()
    refused(backend, Move(C, commits[1], None), Move(A, commits[1], commits[0]))
    assert (at(repo, A), at(repo, C)) == (commits[0], None)
    assert list(repo.git_dir.rglob("*.lock")) == [lock]
    lock.unlink()
    backend.swap([Move(C, commits[1], None), Move(A, commits[1], commits[0])])
    assert (at(repo, A), at(repo, C)) == (commits[1], commits[1])


@pytest.mark.skipif(sys.platform != "linux", reason="file names are UTF-8 there")
def test_a_ref_whose_name_is_not_utf_8(backend, kind, commits):
    if kind.backend == "libgit2":
        pytest.skip("the transactions of pygit2 take no such name")
    name = "refs/heads/latin\udce9"
    backend.swap([Move(name, commits[0], None)])
    assert backend.ref(name) == commits[0]
    backend.swap([Move(name, None, commits[0])])
    assert backend.ref(name) is None


def test_refs_move_without_a_user(repo, backend, commits, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    repo.git("config", "user.useConfigOnly", "true")
    repo.git("config", "core.logAllRefUpdates", "always")
    backend.swap([Move(C, commits[0], None)])
    assert at(repo, C) == commits[0]


def test_a_branch_keeps_a_log_of_its_moves(repo, backend, commits):
    backend.swap([Move(C, commits[0], None)])
    backend.swap([Move(C, commits[1], commits[0])])
    log = repo.git("log", "-g", "--format=%gs %H", "gitmill/state", "--")
    assert log.splitlines() == [f"gitmill {commits[1]}", f"gitmill {commits[0]}"]


def test_no_move_of_many_writers_is_lost(repo, backend, kind, commits):
    """Processes of both backends on one ref, and git's own beside them."""
    others = [kind] if kind.object_format == "sha256" else [kind, Kind("plumbing", "sha1")]
    backend.swap([Move(C, commits[0], None)])
    at_once(repo.path, "count", *((other, [C, "12"]) for other in others * (4 // len(others))))
    assert repo.git("rev-list", "--count", C) == "49"
    assert repo.git("fsck", "--no-dangling") == ""


# Threads


def test_each_thread_reads_its_own_objects_through_one_backend(repo, backend):
    """A `cat-file` that threads share hands one thread the bytes that another one asked for."""
    contents = [f"{n} ".encode() * (1 + n * 401) for n in range(16)]
    oids = [backend.write("blob", data) for data in contents]
    backend.read(oids[0])
    wrong = []

    def read(number):
        for turn in range(30):
            n = (number + turn * 7) % len(oids)
            if backend.read(oids[n]) != ("blob", contents[n]):
                wrong.append(n)

    with nothing_left():
        together(8, read)
    assert wrong == []


def test_what_one_thread_writes_another_one_reads(repo, backend):
    first, moved = [], []

    def work(number):
        commit = write_commit(backend, Commit(repo.tree(), (), IDENT, IDENT, f"{number}\n"))
        first.append(commit)
        backend.swap([Move(f"refs/gitmill/work/{number}", commit, None)])
        moved.append(backend.ref(f"refs/gitmill/work/{number}"))

    together(4, work)
    assert sorted(moved) == sorted(first) == sorted(backend.refs("refs/gitmill/work").values())
    assert {read_commit(backend, oid).message for oid in first} == {f"{n}\n" for n in range(4)}


def test_a_backend_that_is_dropped_leaves_no_process_and_no_handle(repo, open_it):
    with nothing_left():
        backend = open_it(repo.path)
        backend.read(repo.git("rev-parse", "HEAD"))
        del backend


def kind_is_in_process(backend):
    return not isinstance(backend, Plumbing)


def test_after_a_read_that_was_interrupted_the_next_one_gets_its_own_bytes(repo, backend):
    """A signal, such as Ctrl-C, can come between the question to git and the end of its answer."""
    contents = [f"{n} ".encode() * 200_000 for n in range(4)]
    oids = [backend.write("blob", data) for data in contents]
    interrupts, armed = [], []

    def interrupt(*_):
        if armed:
            armed.clear()
            raise InterruptedError

    def send():
        while not interrupts:
            time.sleep(0.0007)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    old = signal.signal(signal.SIGUSR1, interrupt)
    thread, cut = threading.Thread(target=send), 0
    thread.start()
    try:
        for turn in range(90):
            assert backend.read(oids[turn % 3])[1] == contents[turn % 3], turn
            try:
                armed.append(True)
                backend.read(oids[3])
                armed.clear()
            except InterruptedError:
                cut += 1
    finally:
        interrupts.append(True)
        thread.join()
        signal.signal(signal.SIGUSR1, old)
    assert cut or kind_is_in_process(backend)
