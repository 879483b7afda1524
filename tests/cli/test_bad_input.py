"""Bad input is a clear error or is dealt with, in every verb that meets it, and nothing is lost.

Elsewhere: a dirty, untracked or ignored file in the way, a rebase, no checkout of the target
(tests/landing/test_land.py); names of any bytes from build to landed, SHA-256, a failing set-up
(tests/workspace/test_workspace.py); used-up attempts, a dependency that was cancelled
(tests/flows/test_take.py); damaged items beside good ones (tests/flows/test_findings.py,
tests/store/test_snapshot.py); what `doctor` says of all this (tests/flows/test_doctor.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.cli import Said, begun, gitmill
from tests.support.crash_cases import Server
from tests.support.repos import Repo, Sandbox
from tests.support.seeds import rest_slow

READS = """status|log|task|task show T|task diff T|queue|loop|loop show|loop check|config|
compile --check""".replace("\n", "").split("|")
WRITES = """run|stop|recover|pause|resume|compile|init|queue land|queue pause|queue resume|
task new x|task edit T --title y|task take T|task submit T|task path T|task ready T|
task approve T|task return T -m x|task answer T -m x|task block T -m x|task retry T|
task unblock T|task cancel T|task reopen T|queue add T|queue remove T""".replace("\n", "").split(
    "|"
)
VERBS = [*READS, *WRITES]


@pytest.fixture(scope="module")
def server() -> Server:
    return Server.shared()


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    return begun(sandbox, files={"a.txt": "1\n", "b.txt": "2\n"})


def said_by(server: Server, folder: Path, verb: str, task: str) -> tuple[str, Said]:
    """Run a verb; return the slug of its error, empty when it had none."""
    words = [task if word == "T" else word for word in verb.split()]
    said = server.gitmill(folder, *words, "--json")
    told = said.err.strip().splitlines()
    if said.code == 0:
        assert not told, (verb, said.err)
        return "", said
    assert said.out == "", (verb, said.out)
    error = json.loads(told[-1])
    assert error["exit"] == said.code != 70, (verb, error)
    assert error["message"][:1].islower() or not error["message"][:1].isalpha(), error
    return error["error"], said


def all_say(server: Server, folder: Path, wanted: dict[str, str], *, task: str = "t-zzzzz") -> None:
    """Every verb says what is wanted of it, `*` for those not named; none changes the user's."""
    before = mine(folder)
    found = {verb: said_by(server, folder, verb, task)[0] for verb in VERBS}
    assert found == {verb: wanted.get(verb, wanted["*"]) for verb in VERBS}
    assert mine(folder) == before


def mine(folder: Path) -> list[str]:
    """The user's refs, index and files."""

    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], cwd=folder, capture_output=True, check=False)
        return done.stdout.decode("utf-8", "replace")

    return [git("for-each-ref", "refs/heads/*", "refs/tags", "refs/stash"), git("ls-files", "-s"),
            git("status", "--porcelain"), git("symbolic-ref", "HEAD")]  # fmt: skip


def ready(server: Server, repo: Repo, script: str, *more: str) -> str:
    return server.new_task(repo.path, "T", script, *more)


def item(server: Server, repo: Repo, task: str) -> dict:
    return server.gitmill(repo.path, "task", "show", task, "--json").json["item"]


# -- the repository --------------------------------------------------------------------------------


def test_not_a_repository(tmp_path: Path, server: Server):
    all_say(server, tmp_path, {"*": "not-a-repository"})
    said = server.gitmill(tmp_path, "-C", "nowhere", "status")
    assert said.err.startswith("error[not-a-repository]: there is no folder nowhere\n")


def test_bare_and_without_a_commit(tmp_path: Path, server: Server):
    bare = {"*": "not-initialized"} | dict.fromkeys(("init", "run", "queue land"),
                                                    "unusable-repository")  # fmt: skip
    empty = {"*": "not-initialized", "init": "unusable-repository"}
    for name, wanted, more in (("bare", bare, ["--bare"]), ("empty", empty, [])):
        subprocess.run(["git", "init", "-q", *more, str(tmp_path / name)], check=True)
        all_say(server, tmp_path / name, wanted)


def test_without_a_state_branch(sandbox: Sandbox, server: Server):
    repo = sandbox.repo()
    wanted = {verb: "not-initialized" for verb in VERBS if verb != "init"}
    for verb, slug in wanted.items():
        assert said_by(server, repo.path, verb, "t-zzzzz")[0] == slug, verb


def break_blob(repo: Repo) -> None:
    blob = repo.git("hash-object", "-w", "--stdin", stdin=b"no commit")
    (repo.git_dir / "refs/heads/gitmill/state").write_text(f"{blob}\n")


def break_ref(repo: Repo) -> None:
    (repo.git_dir / "refs/heads/gitmill/state").write_text("rubbish\n")


def tree_file(repo: Repo) -> Path:
    tree = repo.git("rev-parse", "gitmill/state^{tree}")
    return repo.git_dir / "objects" / tree[:2] / tree[2:]


def lose_tree(repo: Repo) -> None:
    tree_file(repo).unlink()


def damage_tree(repo: Repo) -> None:
    tree_file(repo).chmod(0o644)
    tree_file(repo).write_bytes(b"rubbish")


def newer_format(repo: Repo) -> None:
    put(repo, "format", b"2\n")


def put(repo: Repo, path: str, data: bytes) -> None:
    """Commit a file to the state branch by hand."""
    env = os.environ | {"GIT_INDEX_FILE": str(repo.path.parent / "index")}

    def git(*args: str, stdin: bytes = b"") -> str:
        done = subprocess.run(["git", *args], cwd=repo.path, env=env, input=stdin,
                              capture_output=True, check=True)  # fmt: skip
        return done.stdout.decode().strip()

    git("read-tree", "gitmill/state")
    blob = git("hash-object", "-w", "--stdin", stdin=data)
    git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
    commit = git("commit-tree", git("write-tree"), "-p", "gitmill/state", "-m", "by hand")
    git("update-ref", "refs/heads/gitmill/state", commit)


@pytest.mark.parametrize("backend", ["libgit2", "git"])
@pytest.mark.parametrize(
    ("damage", "slug"),
    rest_slow([
        (break_blob, "missing-object"), (break_ref, "git-failed"), (lose_tree, "missing-object"),
        (damage_tree, "missing-object"), (newer_format, "bad-format"),
    ], 2, rows=True),
)  # fmt: skip
def test_a_damaged_state_is_an_error_and_never_an_empty_one(
    repo: Repo, server: Server, damage, slug: str, backend: str
):
    if backend == "git":
        repo.git("config", "remote.x.promisor", "false")  # libgit2 is not asked then
        repo.git("config", "remote.x.url", "/nowhere")
    damage(repo)
    before = (repo.git_dir / "refs/heads/gitmill/state").read_bytes()
    all_say(server, repo.path, {"*": slug})
    assert (repo.git_dir / "refs/heads/gitmill/state").read_bytes() == before
    said = server.gitmill(repo.path, "uninit", "--yes")
    if damage in (break_ref, lose_tree, damage_tree):  # cannot be put into a bundle
        assert said.code == 1
        assert (repo.git_dir / "refs/heads/gitmill/state").read_bytes() == before


@pytest.mark.slow
def test_an_item_that_is_garbage(repo: Repo, server: Server):
    task = ready(server, repo, "echo x >> a.txt")
    other = ready(server, repo, "echo y >> b.txt")
    put(repo, f"tasks/{task[2:4]}/{task}.md", b"\xff\xfe garbage \x00")
    for verb in VERBS:
        slug, _ = said_by(server, repo.path, verb, task)
        wanted = {"queue land": "nothing-to-do"}.get(verb, "")
        assert slug == ("bad-document" if " T" in verb else wanted), verb
        if verb == "run":
            assert item(server, repo, other)["status"] == "landed"


def test_control_that_is_garbage_stops_work(repo: Repo, server: Server):
    ready(server, repo, "echo x >> a.txt")
    put(repo, "control.md", b"\xff\xfe stop")
    for verb in ("run", "queue land", "pause", "status"):
        assert said_by(server, repo.path, verb, "T")[0] == "bad-document"


def test_a_target_that_is_gone(repo: Repo, server: Server):
    task = ready(server, repo, "echo x >> a.txt")
    repo.git("branch", "-m", "main", "trunk")
    for verb in ("run", "init", "compile", "loop", "config", "task take T"):
        slug, said = said_by(server, repo.path, verb, task)
        assert slug == "unusable-repository"
        assert "the target branch main does not exist" in said.err
    for verb in ("status", "task show T", "log", "queue"):
        assert said_by(server, repo.path, verb, task)[0] == ""
    assert server.gitmill(repo.path, "init", "--target", "trunk").code == 0
    assert server.gitmill(repo.path, "run").code == 0
    assert repo.git("show", "trunk:a.txt") == "1\nx"


def test_without_a_user_all_can_be_read_and_nothing_is_half_written(
    repo: Repo, server: Server, sealed: Path
):
    task = ready(server, repo, "echo x >> a.txt")
    (sealed / ".gitconfig").write_text("[user]\n\tuseConfigOnly = true\n")
    before = repo.git("rev-parse", "gitmill/state")
    for verb in READS:
        assert said_by(server, repo.path, verb, task)[0] == ""
    for verb in ("run", "init", "task new x", "task edit T --title y", "task take T", "pause",
                 "task block T -m x", "task cancel T", "compile"):  # fmt: skip
        slug, said = said_by(server, repo.path, verb, task)
        assert slug == "unusable-repository", verb
        assert 'git config user.name \\"Your Name\\"' in said.err
    assert repo.git("rev-parse", "gitmill/state") == before


def test_a_user_whose_name_is_in_another_encoding(repo: Repo, server: Server):
    with (repo.git_dir / "config").open("ab") as file:
        file.write(b"[user]\n\tname = J\xf6rg\n")
    task = ready(server, repo, "echo x >> a.txt")
    assert server.gitmill(repo.path, "run", task).code == 0
    assert item(server, repo, task)["status"] == "landed"
    assert repo.git("log", "-1", "--format=%an", "main") == "J\udcf6rg"


def test_a_detached_head_and_a_shallow_clone_land(repo: Repo, server: Server):
    repo.commit({"a.txt": "2\n"})
    shallow = Repo(repo.path.parent / "shallow")
    repo.git("clone", "-q", "--depth=1", repo.path.as_uri(), str(shallow.path))
    assert server.gitmill(shallow.path, "init").code == 0
    repo.git("switch", "-q", "--detach")
    for one in (repo, shallow):
        task = ready(server, one, "echo x >> a.txt")
        one.write({"b.txt": "mine\n"})
        assert server.gitmill(one.path, "run", task).code == 0
        assert one.git("show", "main:a.txt") == "2\nx"
        assert (one.path / "b.txt").read_text() == "mine\n"
    assert (repo.path / "a.txt").read_text() == "2\n"


@pytest.mark.slow
def test_a_target_that_is_checked_out_in_another_worktree(repo: Repo, server: Server):
    repo.git("switch", "-q", "-c", "mine")
    other = Repo(repo.path.parent / "other")
    repo.git("worktree", "add", "-q", str(other.path), "main")
    first = ready(server, repo, "echo x >> a.txt")
    assert server.gitmill(repo.path, "run", first).code == 0
    assert (other.path / "a.txt").read_text() == "1\nx\n"
    assert other.git("status", "--porcelain") == ""
    second = ready(server, repo, "echo y >> a.txt")
    other.write({"a.txt": "mine\n"})
    said = server.gitmill(repo.path, "run", second)
    assert said.code == 3
    assert f"your own changes in {other.path} overlap" in said.err
    assert (other.path / "a.txt").read_text() == "mine\n"
    other.git("checkout", "-q", "a.txt")
    assert server.gitmill(repo.path, "queue", "land").code == 0
    assert (other.path / "a.txt").read_text() == "1\nx\ny\n"


def test_an_unfinished_merge_of_the_target_holds_the_landing(repo: Repo, server: Server):
    task = ready(server, repo, "echo x >> b.txt")
    assert server.gitmill(repo.path, "run", task, "--through", "approved").code == 0
    repo.git("switch", "-q", "-c", "other")
    repo.commit({"a.txt": "other\n"})
    repo.git("switch", "-q", "main")
    repo.commit({"a.txt": "main\n"})
    repo.git("merge", "other", check=False)
    before = mine(repo.path)
    assert server.gitmill(repo.path, "queue", "land").code == 3
    assert mine(repo.path) == before
    repo.git("merge", "--abort")
    assert server.gitmill(repo.path, "queue", "land").code == 0


# -- what is typed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["task", "new", "a\nb"], 2, "a title is one line of at most 300 characters"),
        (["task", "new", "a\x1b[31m"], 2, "a title is one line of at most 300 characters"),
        (["task", "new", "x" * 301], 2, "a title is one line of at most 300 characters"),
        (["task", "new", "a\udcff"], 2, "the argument 'a\\udcff' is not UTF-8 text"),
        (["task", "edit", "T", "--title", "a\nb"], 2, "a title is one line of at most 300"),
        (["task", "edit", "T", "--title", " "], 2, "a task needs a title"),
        (["task", "edit", "T", "--path", "../x"], 2, "the path ../x leads out of the repository"),
        (["task", "new", "x", "--path", "../x"], 2, "the path ../x leads out of the repository"),
        (["task", "new", "x", "--path", "a/../../b"], 2, "leads out of the repository"),
        (["task", "new", "x", "--path", "a\nb"], 2, "one of the paths is not one line of text"),
        (["task", "new", "x", "--label", ""], 2, "one of the labels is not one line of text"),
        (["task", "new", "x", "--script", "@/nowhere"], 2, "cannot read the script /nowhere"),
        (["task", "new", "x", "--script", "@/bin/sh"], 2, "cannot read the script /bin/sh"),
        (["task", "block", "T", "-m", "\udcff"], 2, "is not UTF-8 text"),
        (["task", "edit", "T", "--after", "T"], 1, "they would wait for each other"),
        (["task", "edit", "T", "--after", "t-zzzzz"], 1, "no item matches t-zzzzz"),
        (["task", "show", "../../etc"], 1, "no item matches ../../etc"),
        (["init", "--target", "-x"], 1, "there is no branch -x with a commit on it"),
    ],
)  # fmt: skip
def test_what_no_document_could_hold_is_refused(
    repo: Repo, server: Server, args: list[str], code: int, said: str
):
    task = ready(server, repo, "true")
    before = repo.git("rev-parse", "gitmill/state")
    told = server.gitmill(repo.path, *(task if arg == "T" else arg for arg in args))
    assert (told.code, told.out) == (code, "")
    assert said in told.err
    assert repo.git("rev-parse", "gitmill/state") == before


def test_bytes_that_are_no_text_are_refused(repo: Repo):
    """As a shell hands them over, which nothing but a process of its own receives."""
    argv = [os.fsencode(sys.executable), b"-m", b"gitmill", b"task", b"new", b"a\xff"]
    done = subprocess.run(argv, cwd=repo.path, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"the argument 'a\\udcff' is not UTF-8 text" in done.stderr


def test_dependencies_in_a_circle(repo: Repo, server: Server):
    first, second = ready(server, repo, "true"), ready(server, repo, "true")
    assert server.gitmill(repo.path, "task", "edit", second, "--after", first).code == 0
    said = server.gitmill(repo.path, "task", "edit", first, "--after", second)
    assert said.err.splitlines()[:2] == [
        f"error[bad-dependency]: {first} cannot come after {second}: they would wait for each other",
        f"    {first} after {second} after {first}",
    ]


def test_a_text_that_is_not_utf_8(repo: Repo):
    done = subprocess.run([sys.executable, "-m", "gitmill", "task", "new", "x", "-m", "-"],
                          cwd=repo.path, input=b"\xff\n", capture_output=True, check=False)  # fmt: skip
    assert done.returncode == 2
    assert b"error[usage]: the text is not UTF-8" in done.stderr


def test_the_agent_shell_without_a_script_is_refused_before_it_asks_for_ever(
    repo: Repo, server: Server
):
    said = server.gitmill(repo.path, "task", "new", "x", "--criterion", "$ true", "--ready")
    assert said.err == (
        "error[not-ready]: the agent shell runs the script of a task, but this task has none\n"
        "hint: add one: `gitmill task edit ID --script 'make fmt'`, or `@FILE`\n"
        "hint: or build it yourself: `gitmill task take ID`\n"
    )
    assert server.gitmill(repo.path, "task").out == ""
    draft = server.gitmill(repo.path, "task", "new", "x", "--criterion", "$ true").out.strip()
    assert "but this task has none" in server.gitmill(repo.path, "task", "ready", draft).err
    assert item(server, repo, draft)["status"] == "draft"
    folder = Path(server.gitmill(repo.path, "task", "take", draft).out.strip())
    (folder / "a.txt").write_text("by hand\n")
    assert server.gitmill(repo.path, "task", "submit", draft).code == 0
    assert server.gitmill(repo.path, "run").code == 0
    assert repo.git("show", "main:a.txt") == "by hand"


# -- what agents and scripts do --------------------------------------------------------------------


@pytest.mark.parametrize(
    "megabytes", [pytest.param(megabytes, marks=pytest.mark.slow) for megabytes in (1, 100)]
)
def test_megabytes_of_output(repo: Repo, server: Server, megabytes: int):
    """Of what it prints the ends are kept: in one line, in many, with what is no text in them."""
    size = megabytes * 10**6  # each line costs more than each byte
    one = f"head -c {size} /dev/zero | tr '\\0' a"
    many = f"yes '\x1b[2J 0123456789' | head -c {size // 10}; printf '\\377\\376 end\\n'; exit 1"
    began = time.monotonic()
    first = ready(server, repo, f"{one}; echo x > x.txt")
    second = ready(server, repo, many)
    assert server.gitmill(repo.path, "run").code == 1
    assert time.monotonic() - began < 60
    assert item(server, repo, first)["status"] == "landed"
    shown = server.gitmill(repo.path, "task", "show", second)
    assert "the script exited 1" in shown.out
    assert "end" in shown.out
    assert "\x1b[2J" not in shown.out
    assert len(shown.out) < 10_000
    sizes = repo.git("ls-tree", "-r", "--format=%(objectsize)", "gitmill/state", "runs").split()
    assert max(map(int, sizes)) < 200_000


@pytest.mark.slow
def test_a_script_that_never_ends(repo: Repo, server: Server):
    loop = Path(__file__).parents[2] / "gitmill/loops/deliver/10-build.md"
    text = loop.read_text().replace("permission: workspace", "permission: workspace\ntimeout: 1s")
    repo.commit({".gitmill/loops/deliver/10-build.md": text})
    task = ready(server, repo, "echo began > began.txt; sleep 1000")
    began = time.monotonic()
    assert server.gitmill(repo.path, "run").code == 1
    assert time.monotonic() - began < 30
    assert "timed-out" in item(server, repo, task)["reason"]
    assert repo.git("show", f"refs/gitmill/rescue/{task}/1:began.txt") == "began"


BAD = "\"$(printf '\\377bad name')\""


@pytest.mark.slow
def test_a_name_that_is_no_text_in_every_answer(repo: Repo, server: Server):
    """Sanity, a checkout in the way and a conflict name such a file, as text and as JSON."""
    outside = ready(server, repo, f"printf x > {BAD}", "--path", "a.txt")
    assert server.gitmill(repo.path, "run").code == 1
    assert "outside of the declared paths" in item(server, repo, outside)["reason"]
    task = ready(server, repo, f"printf x > {BAD}")
    assert server.gitmill(repo.path, "run", task, "--through", "approved").code == 0
    repo.write({"\udcffbad name": "mine\n"})
    for args in (["status"], ["task", "show", outside], ["task", "diff", task], ["log"]):
        for locale in ("C.UTF-8", "C"):
            more = ["--json"] if locale == "C" else []
            said = gitmill(repo.path, *args, *more, env={"LC_ALL": locale})
            assert said.code == 0, said.err
            assert not more or said.json["schema"] == 1
    held = server.gitmill(repo.path, "queue", "land")
    assert (held.code, "    ?bad name\n" in held.err) == (3, True)
    assert (repo.path / "\udcffbad name").read_text() == "mine\n"
    repo.git("add", "-A")
    repo.git("commit", "-q", "-m", "mine")
    assert server.gitmill(repo.path, "queue", "land").code == 3
    assert item(server, repo, task)["status"] == "ready"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_thousand_changed_files(repo: Repo, server: Server):
    """Sanity refuses so many by default; allowed, they land, in a bounded time."""
    repo.commit({".gitmill/config.toml": "[limits]\nreturns = 1\n"})
    script = "mkdir many; for n in $(seq 20000); do echo $n > many/$n.txt; done"
    task = ready(server, repo, script)
    assert server.gitmill(repo.path, "run").code == 1
    assert "files" in item(server, repo, task)["reason"]
    policy = "[sanity]\nmax_files = 30000\nmax_lines = 30000\n"
    repo.commit({".gitmill/config.toml": policy})
    task = ready(server, repo, script)
    began = time.monotonic()
    said = server.gitmill(repo.path, "run", task)
    took = time.monotonic() - began
    assert said.code == 0, said.err
    assert len(repo.git("ls-tree", "-r", "--name-only", "main", "many/").split()) == 20000
    assert (repo.path / "many/20000.txt").read_text() == "20000\n"
    print(f"{took:.1f} s from ready to landed")
    assert took < 180


# -- rough edges of screens ------------------------------------------------------------------------


def test_what_comes_next_is_something_else(repo: Repo, server: Server):
    task = ready(server, repo, "exit 1")
    assert server.gitmill(repo.path, "run").code == 1
    shown = server.gitmill(repo.path, "task", "show", task)
    assert shown.err == f"next: `gitmill task retry {task}`\n"
    cancelled = server.gitmill(repo.path, "task", "cancel", task)
    assert cancelled.err == f"{task} is cancelled\nnext: `gitmill status`\n"


def test_long_titles_stay_in_their_column(repo: Repo, server: Server):
    for title in ("short", "x" * 40, "y" * 41, "z" * 300):
        assert server.gitmill(repo.path, "task", "new", title).code == 0
    rows = sorted(server.gitmill(repo.path, "status").out.splitlines()[2:], key=lambda r: r[33:])
    assert [row[33:73].rstrip() for row in rows] == [
        "short", "x" * 40, "y" * 39 + "…", "z" * 39 + "…",
    ]  # fmt: skip
    assert all(row[73:].strip().rstrip("s").isdigit() for row in rows)
