"""Initialize a repository: the state branch, and a policy for the user to read and commit."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gitmill.core.board import build_board, markdown
from gitmill.core.document import Document
from gitmill.core.lifecycle import RULES
from gitmill.core.trailers import EventRecord
from gitmill.errors import GitmillError, UnusableRepositoryError
from gitmill.git.default_branch import DefaultBranch, create_local, default_branch
from gitmill.hints import Blank, Gitmill, Hint
from gitmill.mill import Mill
from gitmill.plans.policy import POLICY
from gitmill.store import layout
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit
from gitmill.workspace.trust import trust


@dataclass(frozen=True, slots=True)
class Initialized:
    """The result of `init`: the target branch, whether the state is new, the proposed policy."""

    target: str
    why: str  # of this target; empty if it was named or known
    fresh: bool
    policy: Path | None
    checks: dict[str, str]


def init(mill: Mill, *, target: str = "") -> Initialized:
    """Create the state branch and propose a policy; existing ones are left unchanged.

    Without a named target it is the one that the state has, else the default branch; if only the
    remote has that branch, it is created here. Raises `UnusableRepositoryError` for a repository
    that is bare, without a commit, or without an obvious default branch.
    """
    repository = mill.repository
    repository.require_usable()
    chosen = _target(mill, target)
    branch = chosen.name
    if not create_local(repository, branch):
        raise _no_branch(mill, branch)
    _ = mill.person  # raises if git has no identity, before anything is committed
    fresh = mill.store.begin()
    changed = _first_commit(mill, branch, explicit=bool(target))
    carry_notes(mill)
    _remember_work_tree(mill)
    mill.keep_pool()
    checks = detect_checks(repository.top) if repository.top else {}
    policy = _propose(repository.top, checks) if repository.top else None
    if policy:
        trust(mill, checks.values())
    snapshot = mill.snapshot()
    control = snapshot.control
    mill.target_tip(snapshot)
    why = chosen.why if control.target == branch else ""
    return Initialized(control.target, why, fresh or changed, policy, checks)


def _target(mill: Mill, named: str) -> DefaultBranch:
    """Return the branch that work lands on, which might exist only on the remote."""
    if named:
        return DefaultBranch(named, "")
    if mill.store.is_begun():
        # A killed init leaves a state without a format; any other fault is raised below.
        with suppress(GitmillError):
            snapshot = mill.snapshot()
            if snapshot.read(layout.CONTROL) is not None:
                return DefaultBranch(snapshot.control.target, "")
    found = default_branch(mill.repository)
    if found is None:
        raise UnusableRepositoryError(
            "HEAD is detached, so no branch to land on is known",
            hints=[Hint("name the branch:", Gitmill("init", "--target", Blank("BRANCH")))],
        )
    return found


def _no_branch(mill: Mill, branch: str) -> GitmillError:
    """Return the error for a branch that neither the repository nor its remote has."""
    if mill.store.is_begun() and mill.snapshot().control.target == branch:
        mill.target_tip(mill.snapshot())  # raises
    other = Hint("name another with", Gitmill("init", "--target", Blank("BRANCH")))
    first = Hint("make a first commit, then", Gitmill("init"))
    empty = mill.repository.git.run("rev-parse", "-q", "--verify", "HEAD", check=False).returncode
    return UnusableRepositoryError(
        f"there is no branch {branch} with a commit on it", hints=[first if empty else other]
    )


def _first_commit(mill: Mill, branch: str, *, explicit: bool) -> bool:
    """Write format, control and board if missing; change the target if one was named."""
    event_id, person = mill.new_token(), mill.person

    def build(snapshot: Snapshot) -> StateCommit | None:
        files: dict[str, bytes | None] = {}
        if snapshot.read(layout.FORMAT_FILE) is None:
            files[layout.FORMAT_FILE] = f"{layout.FORMAT}\n".encode()
            board = build_board({})
            files[layout.BOARD] = markdown(board).encode()
        else:
            snapshot.require_format()
        if snapshot.read(layout.CONTROL) is None:
            control = Document.new({"target": branch, "paused": False}, "")
            files[layout.CONTROL] = control.to_bytes()
        elif explicit and snapshot.control.target != branch:
            files[layout.CONTROL] = snapshot.control.set("target", branch).to_bytes()
        if not files:
            return None
        record = EventRecord(
            event="upgraded", id=event_id, by=person, to=layout.FORMAT,
            rules="" if snapshot.rules else str(RULES),
        )  # fmt: skip
        return StateCommit(f"target {branch}, format {layout.FORMAT}", record, files)

    before = mill.store.backend.ref(layout.STATE)
    return mill.store.commit(build, new=True).commit != before


def _remember_work_tree(mill: Mill) -> None:
    """Configure the work tree that only the environment names, so that landings update it."""
    repository = mill.repository
    if repository.own_git_dir is None or "checkout" in repository.preferences:
        return
    if repository.git.run("config", "core.worktree", check=False).returncode != 0:
        repository.git.run("config", "--local", "gitmill.checkout", os.fspath(repository.top or ""))


# A pattern that matches only this ref: for a plain ref git warns until the first note exists.
NOTES_PATTERN = f"{layout.NOTES[:-1]}[{layout.NOTES[-1]}]"
NOTES_KEYS = ("notes.rewriteRef", "notes.displayRef")


def notes_settings(mill: Mill) -> list[str]:
    """Return the git settings that do not name gitmill's notes yet."""
    git = mill.repository.git
    return [
        key
        for key in NOTES_KEYS
        if not {layout.NOTES, NOTES_PATTERN}
        & set(git.run("config", "--local", "--get-all", key, check=False).text.split())
    ]


def carry_notes(mill: Mill) -> None:
    """Configure git so that the user's own rebase carries notes, and `git log` shows them."""
    for key in notes_settings(mill):
        mill.repository.git.run("config", "--local", "--add", key, NOTES_PATTERN)


# -- the proposed policy ---------------------------------------------------------------------------


def _propose(top: Path, checks: dict[str, str]) -> Path | None:
    path = top / POLICY
    if path.exists():
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(proposal(checks), "utf-8")
    return path


def proposal(checks: dict[str, str]) -> str:
    """Return the policy that `init` proposes for a project with these checks."""
    lines = [
        "# gitmill reads this file at the tip of the target branch, so it counts once committed.",
        "# Every key is in docs/reference/settings.md of gitmill.",
        "",
        "# Without a mode, tasks run scripts of their own; this one takes what coding agents are",
        "# installed; see `gitmill agent list` and `gitmill mode list`.",
        '# mode = "standard"',
        "",
    ]
    if checks:
        lines += ["[checks]  # each must exit 0, on the work and again on exactly what lands"]
        lines += [f"{name} = {json.dumps(command)}" for name, command in checks.items()]
    else:
        lines += [
            "# Commands that must exit 0, on the work and again on exactly what lands.",
            "# [checks]",
            '# test = "make test"',
        ]
    return "\n".join(lines) + "\n"


def detect_checks(top: Path) -> dict[str, str]:
    """Return the test, lint and type commands that a project's own files name, by check name."""
    return dict(_python(top)) | dict(_node(top)) | dict(_others(top))


def _python(top: Path) -> Iterator[tuple[str, str]]:
    try:
        tools = tomllib.loads((top / "pyproject.toml").read_text("utf-8")).get("tool", {})
    except (OSError, ValueError):
        tools = {}
    markers = ("pyproject.toml", "setup.py", "setup.cfg", "pytest.ini", "tox.ini")
    has_tests = any((top / name).is_dir() for name in ("tests", "test"))
    if any((top / name).exists() for name in markers) and ("pytest" in tools or has_tests):
        yield "test", "python -m pytest -q"
    if "ruff" in tools or (top / "ruff.toml").exists():
        yield "lint", "ruff check ."
    if "mypy" in tools or (top / "mypy.ini").exists():
        yield "types", "mypy ."


def _node(top: Path) -> Iterator[tuple[str, str]]:
    try:
        scripts = json.loads((top / "package.json").read_text("utf-8")).get("scripts", {})
    except (OSError, ValueError, AttributeError):
        return
    for name, script in (("test", "test"), ("lint", "lint"), ("types", "typecheck")):
        if isinstance(scripts, dict) and "no test specified" not in scripts.get(
            script, "no test specified"
        ):
            yield name, f"npm run --silent {script}"


def _others(top: Path) -> Iterator[tuple[str, str]]:
    if (top / "go.mod").exists():
        yield "test", "go test ./..."
        yield "lint", "go vet ./..."
    if (top / "Cargo.toml").exists():
        yield "test", "cargo test"
