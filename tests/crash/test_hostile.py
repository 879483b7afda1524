"""What clumsy and hostile agents do to a repository: one test for each row of docs/hostile.md.

Each on the agent's own git directory, in the sandbox and without it, and once more on the user's
repository, which only an agent without the sandbox finds. Beside each, another attempt is under way
and the user works in the checkout: neither is blamed for what the agent did, and nothing of theirs
is undone.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest

from tests.support.crash_cases import Server
from tests.support.crash_live import Live
from tests.support.repos import Sandbox
from tests.support.seeds import rest_slow

MAKE_X = "echo x > x.txt; "
GIT_DIR = '"$(git rev-parse --git-common-dir)"'
HOOK = f"h={GIT_DIR}/hooks/post-commit; printf '#!/bin/sh\\ntouch WORD/pwned\\n' > $h; chmod +x $h"
STATE = "refs/heads/gitmill/state"
# What leads from a worktree to the user's repository, and to git's entry for the worktree there.
FIND = (
    'common=$(dirname "$(readlink -f "$(head -n 1 .git/objects/info/alternates)")")\n'
    'entry=$(grep -lxF "$PWD/.git" "$common"/worktrees/*/gitdir)\n'
    'export GIT_DIR="${entry%/gitdir}"\n'
)
FORGE = (
    "i=$(mktemp -u); export GIT_INDEX_FILE=$i; git read-tree gitmill/state;"
    " f=$(git ls-files 'tasks/*' | head -1);"
    " b=$(git cat-file blob gitmill/state:$f | sed 's/test -e x.txt/true/' | git hash-object -w --stdin);"
    " git update-index --cacheinfo 100644,$b,$f;"
    " c=$(git commit-tree -m forged -p gitmill/state $(git write-tree));"
    f" git update-ref {STATE} $c; unset GIT_INDEX_FILE; "
)


class Where(StrEnum):
    """Where an agent acts: on which git directory, and with or without the sandbox."""

    SANDBOX = "in the sandbox"
    OWN = "without it"
    USERS = "on the user's repository"


@dataclass(frozen=True)
class Row:
    """What an agent does, where its item stands afterwards, and what is said of it.

    That holds on the user's repository, and for what does not go through a git directory always. On
    its own git directory an agent's work is approved, and nothing of the user's has changed.
    """

    name: str
    script: str
    status: str = "approved"
    reason: str = ""
    made: dict[str, str] = field(default_factory=dict)  # what its work has, by path
    then: Callable[[Live, str], None] = lambda live, task: None
    told: str = ""  # in the run log, of what does not hold it
    alone: bool = False  # without another attempt under way
    late: bool = False  # once the user has worked: it stops git, or runs with the user's
    direct: bool = False  # what it reaches is the user's, whichever its git directory is
    inside: bool = False  # it stays within its worktree: the sandbox changes nothing
    fenced: str = "approved"  # else where its item stands in the sandbox
    says: str = ""  # and what its run log says there

    def places(self) -> list[Where]:
        own = [Where.SANDBOX, Where.OWN]
        return own if self.direct or self.inside else [*own, Where.USERS]


def ref_is_left(ref: str) -> Callable[[Live, str], None]:
    return lambda live, task: live.repo.git("rev-parse", "--verify", ref) and None


def config_is_clean(key: str) -> Callable[[Live, str], None]:
    def check(live: Live, task: str) -> None:
        assert live.repo.git("config", "--get-all", key, check=False) == ""
        assert not (live.word / "pwned").exists()
        kept = list((live.repo.git_dir / "gitmill/tampered").iterdir())
        assert any(key.rpartition(".")[2] in path.read_text().lower() for path in kept)

    return check


def hook_is_gone(live: Live, task: str) -> None:
    assert not (live.repo.git_dir / "hooks/post-commit").exists()
    live.repo.commit({"again.txt": "again\n"})
    assert not (live.word / "pwned").exists()
    kept = (live.repo.git_dir / "gitmill/tampered").glob("*-post-commit")
    assert all("pwned" in path.read_text() for path in kept)


def state_is_put_back(live: Live, task: str) -> None:
    (document,) = re.findall(rf"tasks/\S+/{task}\.md", live.repo.git("ls-tree", "-r", STATE))
    assert "test -e x.txt" in live.repo.git("show", f"{STATE}:{document}")
    assert "forged" not in live.repo.git("log", "--format=%s", STATE)
    kept = live.repo.git("for-each-ref", "--format=%(subject)", f"refs/gitmill/rescue/{task}")
    assert "forged" in kept.splitlines()


def main_is_left(live: Live, task: str) -> None:
    """The agent's commit stays on the target, below the user's, and the item is held for it."""
    assert live.repo.git("log", "--format=%s", "main").split() == [
        "user",
        "sneaked",
        "first",
        "first",
    ]


def branch_is_kept(live: Live, task: str) -> None:
    kept = live.repo.git("for-each-ref", "--format=%(objectname)", f"refs/gitmill/rescue/{task}")
    assert live.repo.git("ls-remote", "origin", "precious").split()[0] in kept.splitlines()


ROWS = [
    Row("commits", MAKE_X + "git add .; git commit -qm mine", made={"x.txt": "x\n"}),
    Row("amends", MAKE_X + "git add .; git commit -q --amend -m mine", made={"x.txt": "x\n"}),
    Row("resets", "git reset -q --soft HEAD~1; git reset -q; " + MAKE_X, made={"x.txt": "x\n"}),
    Row("rebases", MAKE_X + "git add .; git commit -qm a; git rebase -q --force-rebase HEAD~1",
        made={"x.txt": "x\n"}),
    Row("stashes", "echo y > y.txt; git add .; git stash -q; " + MAKE_X,
        "waiting", "refs/stash was created", {"x.txt": "x\n"}),
    Row("switches branch", "git switch -q -c agents-own; " + MAKE_X + "git add .; git commit -qm a",
        "waiting", "refs/heads/agents-own was created", {"x.txt": "x\n"},
        ref_is_left("refs/heads/agents-own")),
    Row("tags", MAKE_X + "git tag -a -m x v9", "waiting", "refs/tags/v9 was created", {"x.txt": "x\n"},
        ref_is_left("refs/tags/v9")),
    Row("tags lightly", MAKE_X + "git tag v9", "waiting", "refs/tags/v9 was created",
        {"x.txt": "x\n"}, ref_is_left("refs/tags/v9")),
    Row("tags, untold", MAKE_X + "env -u GIT_TRACE2_EVENT git tag v9", made={"x.txt": "x\n"},
        then=ref_is_left("refs/tags/v9"), told="refs/tags/v9 was created"),
    Row("pushes", MAKE_X + "git push -q origin HEAD:refs/heads/evil",
        "waiting", "refs/remotes/origin/evil was created", {"x.txt": "x\n"}),
    Row("moves the target", MAKE_X + "git update-ref refs/heads/main $(git commit-tree -m sneaked"
        " -p main main^{tree})",
        "waiting", "refs/heads/main was moved", then=main_is_left),
    Row("deletes a branch", MAKE_X + "git branch -q -D precious",
        "waiting", "refs/heads/precious was removed; its old value is refs/gitmill/rescue/",
        {"x.txt": "x\n"}, branch_is_kept),
    Row("deletes a branch, untold", MAKE_X + f"rm {GIT_DIR}/refs/heads/precious",
        made={"x.txt": "x\n"}, then=branch_is_kept,
        told="refs/heads/precious was removed; its old value is refs/gitmill/rescue/"),
    Row("replaces an object", MAKE_X + "git replace HEAD HEAD~1",
        "waiting", "refs/replace/[0-9a-f]+ was created"),
    Row("edits configuration", MAKE_X + "git config user.email evil@example.com",
        "waiting", "user.email was changed", {"x.txt": "x\n"}),
    Row("breaks configuration", MAKE_X + f"echo '[' >> {GIT_DIR}/config",
        "waiting", "became unreadable; it was restored", {"x.txt": "x\n"},
        late=True, alone=True),
    Row("plants a hook", MAKE_X + HOOK, "waiting", "the hook .* was planted; it was moved to",
        {"x.txt": "x\n"}, hook_is_gone, late=True, alone=True),
    Row("plants a hook beside others", MAKE_X + HOOK, made={"x.txt": "x\n"}, then=hook_is_gone,
        told="the hook .* was planted; it was moved to", late=True),
    Row("plants a filter", "git config filter.evil.clean 'touch WORD/pwned; cat';"
        " echo 'x.txt filter=evil' > .gitattributes; " + MAKE_X,
        "waiting", "filter.evil.clean was planted", {"x.txt": "x\n"},
        config_is_clean("filter.evil.clean")),
    Row("plants a driver", "git config merge.evil.driver 'touch WORD/pwned'; " + MAKE_X,
        "waiting", "merge.evil.driver was planted", {"x.txt": "x\n"},
        config_is_clean("merge.evil.driver")),
    Row("plants an alias", "git config alias.st '!touch WORD/pwned'; " + MAKE_X,
        "waiting", "alias.st was planted", {"x.txt": "x\n"}, config_is_clean("alias.st")),
    Row("plants fsmonitor", "git config core.fsmonitor 'touch WORD/pwned'; " + MAKE_X,
        "waiting", "core.fsmonitor was planted", {"x.txt": "x\n"},
        config_is_clean("core.fsmonitor"), late=True),
    Row("plants an alias for all", "git config --file GLOBAL alias.st '!touch WORD/pwned'; " + MAKE_X,
        "waiting", "alias.st was planted", {"x.txt": "x\n"}, config_is_clean("alias.st"), direct=True),
    Row("plants an alias for itself", "git config --global alias.st '!touch WORD/pwned'; " + MAKE_X,
        made={"x.txt": "x\n"}, direct=True),
    Row("deletes .git of its worktree", "rm -rf .git; " + MAKE_X, made={"x.txt": "x\n"},
        direct=True),
    Row("makes .git of its worktree a file", "rm -rf .git; echo 'gitdir: /' > .git; " + MAKE_X,
        made={"x.txt": "x\n"}, direct=True),
    Row("locks .git of its worktree", MAKE_X + "chmod 0 .git", made={"x.txt": "x\n"}, direct=True),
    Row("breaks its own index", MAKE_X + "echo x > .git/index", made={"x.txt": "x\n"}, direct=True),
    Row("makes its own index a FIFO", MAKE_X + "rm .git/index; mkfifo .git/index",
        made={"x.txt": "x\n"}, direct=True),
    Row("deletes its worktree", 'rm -rf "$PWD"', "blocked", "the worktree .* is missing",
        fenced="waiting", says="Device or resource busy", direct=True),
    Row("rewrites its criteria", FORGE + MAKE_X, "waiting",
        f"{STATE} was moved .*; it was restored", {"x.txt": "x\n"}, state_is_put_back),
    Row("removes its own history", MAKE_X + f"git update-ref -d {STATE}",
        "waiting", f"{STATE} was removed; it was restored", {"x.txt": "x\n"}),
    Row("moves a note", MAKE_X + "git update-ref refs/notes/gitmill HEAD",
        "waiting", "refs/notes/gitmill was created.*; it was restored", {"x.txt": "x\n"}),
    Row("forges the journal", FORGE + f"echo $c {STATE} >> {GIT_DIR}/gitmill/journal; " + MAKE_X,
        "waiting", f"{STATE} was moved .*; it was restored", {"x.txt": "x\n"}, state_is_put_back),
    Row("rewrites the journal", MAKE_X + f"echo > {GIT_DIR}/gitmill/journal",
        "waiting", "gitmill's journal was changed; it was restored", {"x.txt": "x\n"},
        late=True, alone=True),
    Row("trusts a command", MAKE_X + 'echo 0123 >> "${PWD%/*}/trusted"',
        "waiting", "the list of trusted commands .* was changed; it was restored",
        {"x.txt": "x\n"}, late=True, alone=True, direct=True),
    Row("links gitmill's files", MAKE_X + f"ln -sf /etc/passwd {GIT_DIR}/gitmill/cooling.json",
        "waiting", "was replaced by a link or another special file", {"x.txt": "x\n"},
        late=True, alone=True),
    Row("signals its supervisor", MAKE_X + "kill -TERM $PPID; sleep 3", "blocked", "crashed",
        late=True, direct=True),
    Row("rewrites the policy", "mkdir -p .gitmill; echo 'x = 1' > .gitmill/config.toml",
        "waiting", "protected path .gitmill/config.toml needs your approval", inside=True),
    Row("edits a check's script", "echo 'exit 0' > check.sh",
        "waiting", "protected path check.sh needs your approval", inside=True),
    Row("links out of the tree", "ln -s /etc/passwd link", "blocked",
        "link is a link that leads out of the repository", inside=True),
    Row("adds a submodule", "git init -q sub; cd sub; git commit -q --allow-empty -m a",
        "blocked", "sub is a repository of its own, which .gitmodules does not name", inside=True),
    Row("makes attributes of a FIFO", "mkfifo .gitattributes; " + MAKE_X,
        "blocked", "the worktree cannot be read: .gitattributes is no regular file", inside=True),
    Row("makes a FIFO", "mkfifo pipe; " + MAKE_X,
        "blocked", "the worktree cannot be read: pipe is a FIFO", inside=True),
    Row("makes a terabyte of nothing", "truncate -s 1T huge",
        "blocked", "huge and other large files have 1099.5 GB; limit 1 GB", inside=True),
    Row("makes 20,001 files", "mkdir m; cd m; seq 20001 | xargs touch",
        "blocked", "20,001 new files; limit 20,000", inside=True),
    Row("names a file with a line break", "echo x > \"$(printf 'a\\nb')\"",
        "blocked", "the name of a file has control characters", inside=True),
    Row("makes a nested repository", "git init -q sub; echo x > sub/x.txt",
        made={"sub/x.txt": "x\n"}, inside=True),
    Row("makes a huge file", "head -c 3000000 /dev/zero > huge", "blocked",
        "huge is 3.0 MB", inside=True),
    Row("names a file like an option", "echo x > --help; echo x > -rf; echo x > ./--",
        made={"--help": "x\n", "-rf": "x\n", "--": "x\n"}, inside=True),
    Row("leaves a daemon", MAKE_X + "setsid sh -c 'sleep 1; echo late > late.txt' > /dev/null 2>&1 &",
        made={"x.txt": "x\n"}, inside=True),
]  # fmt: skip


@pytest.fixture
def live(sandbox: Sandbox, server: Server, sealed: Path) -> Iterator[Live]:
    repo = sandbox.repo(files={"README.md": "hello\n", "check.sh": "test -e README.md\n"})
    repo.commit({"dirty.txt": "before\n"}, "first")
    repo.git("branch", "precious")
    bare = repo.path.parent / "origin.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(repo.path), str(bare)], check=True)
    repo.git("remote", "add", "origin", str(bare))
    live = Live(repo, server, forks=True)
    config = sealed / ".gitconfig"
    kept = [line for line in config.read_text().splitlines() if "bubblewrap = " not in line]
    more = (f"\twritable = {live.word}", f"\treadable = {sealed}", "")
    config.write_text("\n".join([*kept, *more]))
    assert live.gitmill("init").code == 0
    policy = '[checks.it]\ncommand = "sh check.sh"\ninputs = ["check.sh"]\n'
    repo.commit({".gitmill/config.toml": policy}, "policy")
    # The history is two commits long, whatever came before.
    repo.git("reset", "-q", "--soft", "HEAD~1")
    repo.git("commit", "-q", "--amend", "-m", "first")
    yield live
    live.close()


@pytest.fixture(params=[Where.SANDBOX, pytest.param(Where.OWN, marks=pytest.mark.slow)])
def fenced(request: pytest.FixtureRequest, live: Live) -> bool:
    """Whether this test runs in the sandbox."""
    if request.param != Where.SANDBOX:
        live.repo.unfence()
    return request.param == Where.SANDBOX


CASES = [(where, row) for row in ROWS for where in row.places()]


@pytest.mark.parametrize("case", rest_slow(CASES, 6), ids=lambda case: f"{case[1].name}, {case[0]}")
def test_row(live: Live, case: tuple[Where, Row]):
    where, row = case
    if where != Where.SANDBOX:
        live.repo.unfence()
    own = where == Where.SANDBOX or (where == Where.OWN and not row.direct)
    harmless = own and not row.inside
    # Nothing that such code is refused keeps it from its next command.
    script = with_paths(live, FIND * (where == Where.USERS) + row.script)
    tries = f"(set +e; {script}\ntrue)" if harmless else f"({script}\n)"
    begun, wait = (f"touch {live.word}/%s", f"until test -e {live.word}/go; do sleep 0.02; done")
    parts = [begun % "hostile", wait, tries]
    parts = parts if row.late else [parts[2], *parts[:2]]
    task = live.new_task("Hostile", "\n".join(parts))
    other = live.new_task("Other", f"echo o > other.txt\n{begun % 'other'}\n{wait}")
    before = owned(live)
    runs = [("hostile", task)] if row.alone else [("other", other), ("hostile", task)]
    through = ("--through", "approved")
    processes = [live.start_until(name, "run", item, *through) for name, item in runs]
    the_user_works(live)
    live.go()
    said = [process.communicate(timeout=60)[1] for process in processes]

    item = live.item(task)
    log = build_log(live, task)
    if harmless:
        assert item["status"] == row.fenced, [item["reason"], *said]
        assert re.search(row.says, log)
        assert f'sandbox: "{"bubblewrap" if where == Where.SANDBOX else "off"}"' in log
        assert owned(live) == with_the_users_work(before)
    else:
        assert item["status"] == row.status, [item["reason"], *said]
        assert re.search(row.reason, item["reason"] or "")
        assert re.search(row.told, log)
        row.then(live, task)
    for path, content in row.made.items():
        assert live.repo.git("show", f"refs/gitmill/work/{task}:{path}") + "\n" == content
    if not row.alone:
        assert live.item(other)["status"] == "approved", live.item(other)["reason"]
    the_users_work_is_there(live)
    assert live.repo.git("fsck", "--no-dangling") == ""


def with_paths(live: Live, script: str) -> str:
    script = script.replace("WORD", str(live.word))
    return script.replace("GLOBAL", os.environ["GIT_CONFIG_GLOBAL"])


def owned(live: Live) -> dict[str, object]:
    """All that is the user's, and what gitmill and an agent might add to it.

    Of what the user moves meanwhile, the subjects of its commits.
    """
    repo, moved = live.repo, ("main", "topic", "refs/stash")
    lines = repo.git("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    refs = dict(line.split() for line in lines)
    ours = re.compile(r"refs/gitmill/(?!rescue/)|refs/stash|refs/heads/(main|topic|gitmill/state)$")
    objects = repo.git("cat-file", "--batch-all-objects", "--batch-check").splitlines()
    commits = [line.split()[0] for line in objects if " commit " in line]
    subjects = repo.git("show", "-s", "--format=%s", *commits).splitlines()
    kept = repo.git_dir / "gitmill/tampered"
    files = [repo.git_dir / "HEAD", repo.git_dir / "config", *(repo.git_dir / "hooks").iterdir()]
    files.append(Path(os.environ["GIT_CONFIG_GLOBAL"]))
    return {
        **{ref: oid for ref, oid in refs.items() if not ours.match(ref)},
        **{name: [line.split()[0] for line in repo.git(
            "log", "--first-parent", "--format=%s", name, check=False
        ).splitlines()] for name in moved},
        **{str(path): path.read_text() for path in files},
        "origin": repo.git("ls-remote", "origin"),
        "config keys": repo.git("config", "--list"),
        "commits of agents": {"mine", "a", "sneaked", "forged"} & set(subjects),
        "tags": [line for line in objects if " tag " in line],
        "set aside": sorted(kept.iterdir()) if kept.exists() else [],
        "pwned": (live.word / "pwned").exists(),
    }  # fmt: skip


def with_the_users_work(before: dict[str, object]) -> dict[str, object]:
    """Return what is the user's after `the_user_works`."""
    main = ["user", *before["main"]]
    return before | {"main": main, "topic": main, "refs/stash": ["WIP", *before["main"]]}


def build_log(live: Live, task: str) -> str:
    return live.repo.git("show", f"{STATE}:runs/{task[2:4]}/{task}/001-build.md")


def the_user_works(live: Live) -> None:
    repo = live.repo
    repo.write({"dirty.txt": "mine\n"})
    repo.git("stash")
    repo.write({"user.txt": "mine\n"})
    repo.git("add", "user.txt")
    repo.git("commit", "-q", "-m", "user")
    repo.git("branch", "topic")


def the_users_work_is_there(live: Live) -> None:
    assert "user" in live.repo.git("log", "--format=%s", "topic").split()
    live.repo.git("merge-base", "--is-ancestor", "topic", "main")
    assert "mine" in live.repo.git("show", "stash@{0}:dirty.txt")


def test_what_is_written_into_another_worktree(live: Live, *, fenced: bool):
    """Without the sandbox it is part of that change; in it, nobody sees another's worktree.

    There both have the path of the checkout, so an agent writes into its own.
    """
    wait = f"until test -e {live.word}/go; do sleep 0.02; done"
    other = live.new_task("Other", f"echo o > other.txt; pwd > {live.word}/place;"
                          f" touch {live.word}/other; {wait}", "--path", "other.txt")  # fmt: skip
    run = live.start_until("other", "run", other, "--through", "approved", "--limit", "1")
    place = (live.word / "place").read_text().strip()
    assert (Path(place) == live.repo.path) is fenced
    targets = slots_of(live) if fenced else [place]
    evil = "; ".join(f"(echo evil > {target}/evil.txt)" for target in targets)
    task = live.new_task("Hostile", f"{MAKE_X} ( {evil} ) || true")
    assert live.gitmill("run", task, "--through", "approved").code == 0
    live.go()
    run.communicate(timeout=60)
    found = "evil.txt is outside of the declared paths" in build_log(live, other)
    assert found is not fenced
    names = live.repo.git("diff", "--name-only", "main", f"refs/gitmill/work/{task}")
    assert names == "x.txt"


def slots_of(live: Live) -> list[str]:
    lines = live.repo.git("worktree", "list", "--porcelain").splitlines()
    return [line.split(" ", 1)[1] for line in lines if line.startswith("worktree ")][1:]


def test_what_is_written_into_the_checkout_does_not_land(live: Live, *, fenced: bool):
    """In the sandbox there is no checkout: at its path is the agent's own worktree."""
    script = f"{MAKE_X} echo evil > {live.repo.path}/evil.txt"
    task = live.new_task("Hostile", script)
    assert live.gitmill("run").code == 0
    assert live.item(task)["status"] == "landed"
    left = "" if fenced else "?? evil.txt"
    assert live.repo.git("status", "--porcelain") == left
    landed = live.repo.git("diff", "--name-only", "main~1", "main").split()
    assert landed == (["evil.txt", "x.txt"] if fenced else ["x.txt"])


def test_a_deleted_repository_ends_everything_with_an_error(live: Live, *, fenced: bool):
    """In the sandbox the path of the repository is the one of the agent's own git directory."""
    target = live.repo.git_dir
    task = live.new_task("Hostile", f"{MAKE_X} rm -rf {target}")
    said = live.gitmill("run")
    if fenced:
        assert said.code == 0, said.err
        assert live.item(task)["status"] == "landed"
        assert live.repo.git("fsck", "--no-dangling") == ""
    else:
        assert said.code == 1
        assert f"error[repository-gone]: {live.repo.path} was moved or deleted" in said.err


def test_an_edited_test_is_part_of_the_change(live: Live):
    task = live.new_task("Hostile", "mkdir tests; echo 'def test(): pass' > tests/test_it.py")
    assert live.gitmill("run", "--through", "approved").code == 0
    assert "+def test(): pass" in live.gitmill("task", "diff", task).out


def test_the_same_work_returned_twice_is_no_progress(live: Live):
    task = live.new_task("Stubborn", "echo x > x.txt", "--path", "other.txt")
    assert live.gitmill("run").code == 1
    item = live.item(task)
    assert item["status"] == "blocked"
    assert item["reason"].startswith("no progress, the same work was returned twice: x.txt is")
    assert live.story(task).count("claimed") == 2
    assert live.gitmill("task", "retry", task).code == 0
    assert live.gitmill("run").code == 1
    assert live.story(task).count("claimed") == 4


@pytest.mark.slow
def test_an_agent_is_not_blamed_for_the_users_branch_of_the_same_name(live: Live):
    """It made one as well, in its own git directory."""
    live.repo.unfence()
    wait = f"touch {live.word}/hostile; until test -e {live.word}/go; do sleep 0.02; done"
    task = live.new_task("Mild", f"{MAKE_X} git branch topic; git stash; {wait}")
    run = live.start_until("hostile", "run", task, "--through", "approved")
    the_user_works(live)
    live.go()
    run.communicate(timeout=60)
    assert live.item(task)["status"] == "approved", live.item(task)["reason"]
    the_users_work_is_there(live)
