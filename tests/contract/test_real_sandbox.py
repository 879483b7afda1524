"""The real CLIs in gitmill's sandbox, with a model that tries to escape."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gitmill.git.worktrees import Slot
from gitmill.mill import Mill
from tests.contract.test_real_loop import POLICY, run_logs
from tests.support.cli import gitmill
from tests.support.clis import CLIS
from tests.support.levels import LAYERS, NONE, take_level
from tests.support.model import Answer, Asked, Model, Shell, Write
from tests.support.model.steps import Step
from tests.support.poison import POISONS
from tests.support.promises import promise
from tests.support.repos import Repo, Sandbox

EVIL = Path("/etc/gitmill-evil.txt")


@pytest.fixture
def closed(name: str, sandbox: Sandbox, sealed: Path) -> Repo:
    """A repository in which only worktrees can be written."""
    config = sealed / ".gitconfig"
    kept = [line for line in config.read_text().splitlines() if "bubblewrap = " not in line]
    config.write_text("\n".join([*kept, ""]))
    real = CLIS[name]
    policy = POLICY.format(name=name, model=real.model, options=list(real.options))
    repo = sandbox.repo(files={".gitmill/config.toml": policy, "README.md": "Greets.\n"})
    assert gitmill(repo.path, "init").code == 0
    return repo


def forbidden(repo: Repo) -> list[Step]:
    """Writes to what seems to be the repository, and beside the worktree.

    One takes a while, as Codex does not always report the output of a very quick command.
    """
    return [
        Shell(f"echo x > {repo.git_dir}/hooks/post-commit"),
        Shell("git config user.email evil@example.com"),
        Shell("git tag v9"),
        Shell(f"sleep 0.5; echo x > {EVIL}"),
        Shell(f'python3 -c \'open("{repo.path.parent}/evil.txt", "w")\''),
    ]


@promise(
    "in gitmill's sandbox: only the worktree is written, the run log lists refused writes",
    quick=[],
)
def test_only_the_worktree_is_written(
    name: str, closed: Repo, model: Model, monkeypatch: pytest.MonkeyPatch
):
    def script(asked: Asked) -> Sequence[Step]:
        if "You are reviewing" in asked.prompt:
            return [Shell("echo y > greet.txt"), *forbidden(closed), Answer("pass", "Fine.")]
        return [Write("greet.txt", "Hello\n"), *forbidden(closed), Answer("pass", "Greets.")]

    for variable, value in CLIS[name].environment(model.play(script)).items():
        monkeypatch.setenv(variable, value)
    before = (closed.git_dir / "config").read_bytes()
    task = gitmill(closed.path, "task", "new", "Greet", "--criterion", "politely", "--ready")
    result = gitmill(closed.path, "run", "--through", "approved")
    assert result.code == 0, result.err
    assert closed.git("show", f"refs/gitmill/work/{task.out.strip()}:greet.txt") == "Hello"
    assert closed.git("tag") == ""
    assert (closed.git_dir / "config").read_bytes() == before
    assert not (closed.git_dir / "hooks/post-commit").exists()
    assert not list(closed.path.parent.glob("**/evil.txt"))
    assert not EVIL.exists()
    build, review = run_logs(closed)
    assert 'sandbox: "bubblewrap"' in build
    assert 'sandbox: "bubblewrap"' in review
    assert "the sandbox refused: " in build


@promise(
    "commits in the git directory of its worktree, which no one else sees",
    but={"gemini": "no: it asks a person before `git add`"},
    quick=[],
)
def test_it_commits_in_a_git_directory_of_its_own(
    name: str, closed: Repo, model: Model, monkeypatch: pytest.MonkeyPatch
):
    git = [Shell("git add greet.txt"), Shell("git commit -m mine"), Shell("git log -1 > log.txt")]

    def script(asked: Asked) -> Sequence[Step]:
        if "You are reviewing" in asked.prompt:
            return [Answer("pass", "Fine.")]
        return [Write("greet.txt", "Hello\n"), *git, Answer("pass", "Greets.")]

    for variable, value in CLIS[name].environment(model.play(script)).items():
        monkeypatch.setenv(variable, value)
    before = closed.git("for-each-ref", "refs/heads", "refs/tags", "refs/stash")
    gitmill(closed.path, "task", "new", "Greet", "--criterion", "politely", "--ready")
    result = gitmill(closed.path, "run", "--through", "approved")
    assert result.code == 0, result.err
    work = closed.git("for-each-ref", "--format=%(refname)", "refs/gitmill/work").strip()
    assert "    mine\n" in closed.git("show", f"{work}:log.txt") + "\n"
    assert closed.git("show", f"{work}:greet.txt") == "Hello"
    after = closed.git("for-each-ref", "refs/heads", "refs/tags", "refs/stash")
    assert [line for line in after.split("\n") if "gitmill/state" not in line] == [
        line for line in before.split("\n") if "gitmill/state" not in line
    ]


def two_rounds(between: Callable[[], None]) -> Callable[[Asked], Sequence[Step]]:
    """Return a scenario of a builder and a reviewer, who returns the work once.

    `between` is called in that review: the builder has ended, and will run again.
    """
    settled = [{"number": 1, "resolved": True}]

    def script(asked: Asked) -> Sequence[Step]:
        if "You are reviewing" in asked.prompt:
            if "+Hello" in asked.prompt:
                return [Answer("pass", "Fine.", earlier=settled)]
            between()
            return [Answer("return", "A slip.", [{"message": "it is spelled Hello"}])]
        if "spelled Hello" not in asked.prompt:
            return [Write("greet.txt", "Helo\n"), Answer("pass", "Greeted at first.")]
        return [Write("greet.txt", "Hello\n"), Answer("pass", earlier=settled)]

    return script


@promise("with and without gitmill's sandbox: resumes a session from another worktree")
@pytest.mark.slow
@pytest.mark.parametrize("level", [LAYERS, NONE])
def test_a_session_resumes_from_another_slot(
    name: str, closed: Repo, model: Model, monkeypatch: pytest.MonkeyPatch, level: str
):
    """CLIs keep sessions by directory. In the sandbox all slots have the same, else each its own."""
    take_level(level)
    pool, held = Mill.open(closed.path).pool, list[Slot]()

    def between() -> None:
        if not held:  # the builder's next round finds its slot in use
            held.append(pool.acquire_named("build-1"))

    url = model.play(two_rounds(between))
    for variable, value in CLIS[name].environment(url).items():
        monkeypatch.setenv(variable, value)
    gitmill(closed.path, "task", "new", "Greet", "--criterion", "politely", "--ready")
    result = gitmill(closed.path, "run")
    for slot in held:
        slot.release()
    assert result.code == 0, result.err
    assert closed.git("show", "main:greet.txt") == "Hello"
    assert (pool.folder / "build-2").is_dir()
    second = [seen for seen in model.asked(url) if "Continue with your task" in seen.asked.prompt]
    assert second
    assert all("Greeted at first." in json.dumps(seen.body) for seen in second)


@pytest.mark.slow
@promise("files in a builder's home reach no reviewer, and its links do not mislead gitmill")
@pytest.mark.parametrize("poison", POISONS)
def test_a_builders_home_does_not_affect_its_reviewer(
    name: str,
    closed: Repo,
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    poison: str,
):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "mine.txt").write_text("mine")
    homes = Mill.open(closed.path).pool.folder / "homes"
    poisoned: list[Path] = []

    def between() -> None:
        if not poisoned:
            poisoned.extend(homes.glob(f"*/{name}"))
            POISONS[poison](poisoned[0], precious)

    url = model.play(two_rounds(between))
    for variable, value in CLIS[name].environment(url).items():
        monkeypatch.setenv(variable, value)
    gitmill(closed.path, "task", "new", "Greet", "--criterion", "politely", "--ready")
    result = gitmill(closed.path, "run")
    assert len(poisoned) == 1
    assert result.code == 0, result.err
    assert closed.git("show", "main:greet.txt") == "Hello"
    reviews = [seen for seen in model.asked(url) if "You are reviewing" in seen.asked.prompt]
    assert len(reviews) >= 2
    assert not [seen for seen in reviews if "OBEY-HOME" in json.dumps(seen.body)]
    assert [path.name for path in precious.iterdir()] == ["mine.txt"]
