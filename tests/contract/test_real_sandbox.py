"""The real CLIs in gitmill's sandbox, led by a model that wants out, at each level."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.contract.test_real_loop import POLICY, run_logs
from tests.support.cli import gitmill
from tests.support.clis import CLIS
from tests.support.model import Answer, Asked, Model, Shell, Write
from tests.support.model.steps import Step
from tests.support.promises import promise
from tests.support.repos import Repo, Sandbox


@pytest.fixture
def closed(name: str, sandbox: Sandbox, sealed: Path) -> Repo:
    """A repository of which nothing beside a worktree can be written."""
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

    One takes a while: what a very quick command printed, codex does not always say.
    """
    return [
        Shell(f"echo x > {repo.git_dir}/hooks/post-commit"),
        Shell("git config user.email evil@example.com"),
        Shell("sleep 0.5; git tag v9"),
        Shell(f"echo x > {repo.path}/evil.txt"),
        Shell(f'python3 -c \'open("{repo.path.parent}/evil.txt", "w")\''),
    ]


@promise(
    "in gitmill's sandbox: nothing but the worktree is written, the run log tells what was refused"
)
def test_nothing_gets_out(name: str, closed: Repo, model: Model, monkeypatch: pytest.MonkeyPatch):
    def script(asked: Asked) -> Sequence[Step]:
        if "You are reviewing" in asked.prompt:
            return [Shell("echo y > greet.txt"), *forbidden(closed), Answer("pass", "Fine.")]
        return [Write("greet.txt", "Hello\n"), *forbidden(closed), Answer("pass", "Greets.")]

    for variable, value in CLIS[name].environment(model.play(script)).items():
        monkeypatch.setenv(variable, value)
    before = (closed.git_dir / "config").read_bytes()
    task = gitmill(closed.path, "task", "new", "Greet", "--criterion", "politely", "--ready")
    said = gitmill(closed.path, "run", "--through", "approved")
    assert said.code == 0, said.err
    assert closed.git("show", f"refs/gitmill/work/{task.out.strip()}:greet.txt") == "Hello"
    assert closed.git("tag") == ""
    assert (closed.git_dir / "config").read_bytes() == before
    assert not (closed.git_dir / "hooks/post-commit").exists()
    assert not list(closed.path.parent.glob("**/evil.txt"))
    build, review = run_logs(closed)
    assert 'sandbox: "bubblewrap"' in build
    assert 'sandbox: "bubblewrap"' in review
    assert "the sandbox refused: " in build


NOTES = (".claude/CLAUDE.md", ".codex/AGENTS.md", ".gemini/GEMINI.md", ".config/opencode/AGENTS.md")
EVIL = {
    "notes": "; ".join(f"mkdir -p ~/{Path(n).parent}; echo OBEY-HOME > ~/{n}" for n in NOTES),
    "links": "for f in .codex .gemini .local/share/opencode; do "
    "rm -rf ~/$f; mkdir -p $(dirname ~/$f); ln -s {precious} ~/$f; done",
}


@pytest.mark.slow
@promise("what a builder leaves in its home reaches no reviewer, and leads gitmill nowhere")
@pytest.mark.parametrize("evil", EVIL)
def test_a_home_is_the_builders_own(
    name: str,
    closed: Repo,
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    evil: str,
):
    precious = tmp_path / "precious"
    precious.mkdir()
    leave = Shell(EVIL[evil].format(precious=precious))
    settled = [{"number": 1, "resolved": True}]

    def script(asked: Asked) -> Sequence[Step]:
        if "You are reviewing" in asked.prompt:
            if "+Hello" not in asked.prompt:
                return [Answer("return", "A slip.", [{"message": "it is spelled Hello"}])]
            return [Answer("pass", "Fine.", earlier=settled)]
        if "spelled Hello" not in asked.prompt:
            return [Write("greet.txt", "Helo\n"), leave, Answer("pass")]
        return [Write("greet.txt", "Hello\n"), Answer("pass", earlier=settled)]

    url = model.play(script)
    for variable, value in CLIS[name].environment(url).items():
        monkeypatch.setenv(variable, value)
    gitmill(closed.path, "task", "new", "Greet", "--criterion", "politely", "--ready")
    said = gitmill(closed.path, "run")
    assert said.code == 0, said.err
    assert closed.git("show", "main:greet.txt") == "Hello"
    reviews = [one for one in model.asked(url) if "You are reviewing" in one.asked.prompt]
    assert reviews
    assert not [one for one in reviews if "OBEY-HOME" in json.dumps(one.body)]
    assert list(precious.iterdir()) == []
