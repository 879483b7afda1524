"""The real CLIs in gitmill's sandbox, with a model that tries to escape."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from gitmill.mill import Mill
from tests.contract.test_real_loop import POLICY, run_logs
from tests.support.cli import gitmill
from tests.support.clis import CLIS
from tests.support.model import Answer, Asked, Model, Shell, Write
from tests.support.model.steps import Step
from tests.support.poison import POISONS
from tests.support.promises import promise
from tests.support.repos import Repo, Sandbox


@pytest.fixture
def closed(name: str, sandbox: Sandbox, sealed: Path) -> Repo:
    """A repository in which only worktrees can be written."""
    config = sealed / ".gitconfig"
    kept = [line for line in config.read_text().splitlines() if "writable = " not in line]
    config.write_text("\n".join([*kept, ""]))
    real = CLIS[name]
    policy = POLICY.format(name=name, model=real.model, options=list(real.options))
    repo = sandbox.repo(files={".gitmill/config.toml": policy, "README.md": "Greets.\n"})
    assert gitmill(repo.path, "init").code == 0
    return repo


def forbidden(repo: Repo) -> list[Step]:
    """Writes beside a worktree: the repository, the user's checkout, another folder.

    One takes a while, as Codex does not always report the output of a very quick command.
    """
    return [
        Shell(f"echo x > {repo.git_dir}/hooks/post-commit"),
        Shell("git config user.email evil@example.com"),
        Shell("sleep 0.5; git tag v9"),
        Shell(f"echo x > {repo.path}/evil.txt"),
        Shell(f'python3 -c \'open("{repo.path.parent}/evil.txt", "w")\''),
    ]


@promise(
    "in gitmill's sandbox: only the worktree is written, the run log lists refused writes",
    quick=["claude"],
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
    build, review = run_logs(closed)
    assert 'sandbox: "bubblewrap"' in build
    assert 'sandbox: "bubblewrap"' in review
    assert "the sandbox refused: " in build


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
    settled = [{"number": 1, "resolved": True}]
    homes = Mill.open(closed.path).pool.folder / "homes"
    poisoned: list[Path] = []

    def script(asked: Asked) -> Sequence[Step]:
        if "You are reviewing" in asked.prompt:
            if "+Hello" in asked.prompt:
                return [Answer("pass", "Fine.", earlier=settled)]
            if not poisoned:  # the builder has ended, and will run again
                poisoned.extend(homes.glob(f"*/{name}"))
                POISONS[poison](poisoned[0], precious)
            return [Answer("return", "A slip.", [{"message": "it is spelled Hello"}])]
        if "spelled Hello" not in asked.prompt:
            return [Write("greet.txt", "Helo\n"), Answer("pass")]
        return [Write("greet.txt", "Hello\n"), Answer("pass", earlier=settled)]

    url = model.play(script)
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
