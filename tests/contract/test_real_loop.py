"""A task through the whole loop with a real CLI: built, returned, fixed, approved, landed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from gitmill.core.document import Document
from tests.support.cli import gitmill as cli
from tests.support.clis import CLIS, KEY
from tests.support.hands import by_hand
from tests.support.model import Answer, Asked, Model, Read, Shell, Status, Tokens, Write
from tests.support.model.steps import Step
from tests.support.programs import folder_of, version
from tests.support.promises import promise
from tests.support.repos import Repo, Sandbox

POLICY = """\
mode = "real"
[checks]
says = "grep -q Hel greet.txt"
[modes.real]
roles = {{builder = "{name}", reviewer = "{name}", troubleshooter = "{name}", consultant = "{name}"}}
[agents.{name}]
model = "{model}"
options = {options}
"""
TITLE = "Say hello — 世界"
FINDING = {"severity": "high", "file": "greet.txt", "line": 1, "message": "it is spelled Hello"}


def script(asked: Asked) -> Sequence[Step]:
    """Build with a mistake, return it, fix it, pass it."""
    if "You are reviewing" in asked.prompt:
        if "+Hello" not in asked.prompt:
            return [Read("greet.txt"), Answer("return", "A slip.", [FINDING])]
        return [Answer("pass", "As it should be.", earlier=[{"number": 1, "resolved": True}])]
    if "spelled Hello" not in asked.prompt:
        return [Write("greet.txt", "Helo, 世界\n"), Answer("pass", f"Greets. {KEY}")]
    fixes = [Read("greet.txt"), Write("greet.txt", "Hello, 世界\n"), Shell("cat greet.txt")]
    return [*fixes, Answer("pass", "Spelled right.", earlier=[{"number": 1, "resolved": True}])]


@promise("build, review, return, fix, approve, land with `gitmill run`", quick=[])
def test_a_task_goes_from_build_to_landing(
    name: str, sandbox: Sandbox, model: Model, monkeypatch: pytest.MonkeyPatch
):
    real = CLIS[name]
    url = model.play(script, tokens=Tokens(1000, 50, 100))
    for variable, value in real.environment(url).items():
        monkeypatch.setenv(variable, value)
    policy = POLICY.format(name=name, model=real.model, options=list(real.options))
    theirs = dict.fromkeys(("opencode.json", ".gemini/settings.json"), "{}\n")
    repo = sandbox.repo(files={".gitmill/config.toml": policy, "README.md": "Greets.\n"} | theirs)
    assert cli(repo.path, "init").code == 0
    task = cli(repo.path, "task", "new", TITLE, "--criterion", "greets politely", "--ready")
    assert task.code == 0, task.err
    result = cli(repo.path, "run")
    assert result.code == 0, result.err
    assert f"landed {task.out.strip()} (4 attempts)" in result.err
    assert repo.git("show", "main:greet.txt") == "Hello, 世界"
    assert repo.git("show", "--name-only", "--format=", "main").split() == ["greet.txt"]
    logs = [fields(text) for text in run_logs(repo)]
    assert [(log["stage"], log["verdict"], log["exit"], log["agent"]) for log in logs] == [
        ("build", "pass", "completed", name),
        ("review", "return", "completed", name),
        ("build", "pass", "completed", name),
        ("review", "pass", "completed", name),
    ]
    # Per run, even if the CLI reports sums of a session; the model answers 2, 2, 4, 1 times.
    used = [{"input": n * 1000, "output": n * 50, "cached": n * 100} for n in (2, 2, 4, 1)]
    assert [log["usage"] for log in logs] == used
    # The builder's session was resumed, the reviewer's is new; Gemini CLI renames resumed ones.
    assert (logs[2]["session"] == logs[0]["session"]) == (name != "gemini")
    assert len({log["session"] for log in logs}) == (4 if name == "gemini" else 3)
    requests = [seen.asked for seen in model.asked(url) if "is spelled" in seen.asked.prompt]
    assert any(len(asked.people) > 1 for asked in requests)
    note = fields(repo.git("notes", "--ref=gitmill", "show", "main"))
    assert note["usage"] == {"input": 9000, "output": 450, "cached": 900}
    assert note["cost"] == pytest.approx(sum(log["cost"] for log in logs))
    assert min(log["cost"] for log in logs) > 0
    objects = repo.git("cat-file", "--batch-all-objects", "--batch", "--unordered")
    assert "Greets." in objects
    assert KEY not in objects


DESIGN = "d-k3f9x"
LOOP = {
    "loop.md": "---\nserves: design\n---\n",
    "10-author.md": "---\ntype: agent\nrole: builder\npermission: workspace\nproduces: document\n"
    "---\nDesign {{ item.title }}.\n{{ verdict_schema }}\nThe nonce is `{{ nonce }}`.\n",
    "20-review.md": "---\ntype: agent\nrole: reviewer\n---\nYou are reviewing a design:\n"
    "{{ item.body }}\n{{ verdict_schema }}\nThe nonce is `{{ nonce }}`.\n",
}
TEXT = "# Two ways\n\nWe take the first.\n"


def authors(asked: Asked) -> Sequence[Step]:
    """Write a document into a file and name it, and pass it."""
    if "You are reviewing" in asked.prompt:
        return [Answer("pass" if "We take the first." in asked.prompt else "return", "Read.")]
    file = {"text": "", "file": "docs-design.md"}
    return [Write("docs-design.md", TEXT), Answer("pass", "Written.", payload=file)]


@promise("write a document, and name its file in the verdict", quick=[])
def test_a_document_is_handed_over(
    name: str, sandbox: Sandbox, model: Model, monkeypatch: pytest.MonkeyPatch
):
    real = CLIS[name]
    for variable, value in real.environment(model.play(authors)).items():
        monkeypatch.setenv(variable, value)
    policy = POLICY.format(name=name, model=real.model, options=list(real.options))
    files = {f".gitmill/loops/design/{file}": text for file, text in LOOP.items()}
    repo = sandbox.repo(files={".gitmill/config.toml": policy, "README.md": "Hi.\n"} | files)
    assert cli(repo.path, "init").code == 0
    by_hand(repo, {f"designs/k3/{DESIGN}.md": "---\ntitle: Cache\nstatus: ready\n---\n"})
    result = cli(repo.path, "run")
    assert result.code == 0, result.err
    document = repo.git("show", f"gitmill/state:designs/k3/{DESIGN}.md")
    assert document.endswith(f"---\n\n{TEXT}".rstrip())
    assert 'status: "done"' in document


@pytest.mark.slow
@pytest.mark.parametrize("limited", [False, True])
def test_two_vendors_stand_in_for_each_other(
    sandbox: Sandbox, model: Model, monkeypatch: pytest.MonkeyPatch, *, limited: bool
):
    """The mode `standard`: one builds, the other reviews; if the first is limited, the other builds."""
    urls = {"claude": model.play([Status(429, "slow down")] if limited else script)}
    urls["codex"] = model.play(script)
    for name, url in urls.items():
        for variable, value in CLIS[name].environment(url).items():
            monkeypatch.setenv(variable, value)
    monkeypatch.setenv(
        "PATH", os.pathsep.join([*(str(folder_of(n)) for n in urls), os.environ["PATH"]])
    )
    policy = 'mode = "standard"\n[checks]\nsays = "grep -q Hel greet.txt"\n'
    repo = sandbox.repo(files={".gitmill/config.toml": policy, "README.md": "Greets.\n"})
    assert cli(repo.path, "init").code == 0
    task = cli(repo.path, "task", "new", TITLE, "--criterion", "greets politely", "--ready")
    assert task.code == 0, task.err
    result = cli(repo.path, "run")
    assert repo.git("show", "main:greet.txt") == "Hello, 世界", result.err
    logs = [fields(text) for text in run_logs(repo)]
    attempts = [(log["stage"], log["agent"], log["exit"]) for log in logs]
    writer = "codex" if limited else "claude"
    first = [("build", "claude", "rate-limited")] if limited else []
    rounds = [("build", writer, "completed"), ("review", "codex", "completed")] * 2
    assert attempts == [*first, *rounds]


@pytest.mark.slow
@promise("`gitmill agent list` and `gitmill agent try`")
def test_an_agent_is_listed_and_tried(
    name: str, sandbox: Sandbox, model: Model, monkeypatch: pytest.MonkeyPatch
):
    real = CLIS[name]
    url = model.play([Write("hello.txt", "hello\n"), Answer("pass", "It says hello.")])
    for variable, value in real.environment(url).items():
        monkeypatch.setenv(variable, value)
    listed = {
        row["name"]: row for row in cli(sandbox.root, "agent", "list", "--json").json["agents"]
    }
    facts = {key: listed[name][key] for key in ("found", "version", "supported", "signed_in")}
    assert facts == {
        "found": True, "version": version(name), "supported": True, "signed_in": True,
    }  # fmt: skip
    table = f'[agents.{name}]\nmodel = "{real.model}"\noptions = {list(real.options)}\n'
    repo = sandbox.repo(files={".gitmill/config.toml": table})
    assert cli(repo.path, "init").code == 0
    if real.options:  # no command of a policy runs before it is trusted
        monkeypatch.delenv("GITMILL_TRUST")
        assert "untrusted" in cli(repo.path, "agent", "try", name).err
        monkeypatch.setenv("GITMILL_TRUST", "1")
    result = cli(repo.path, "agent", "try", name)
    assert result.code == 0, result
    assert f"{name} works: pass (completed)" in result.out
    assert "summary  It says hello." in result.out
    assert "session" in result.out
    url = model.play([Status(401, "no such key")])
    for variable, value in real.environment(url).items():
        monkeypatch.setenv(variable, value)
    result = cli(repo.path, "agent", "try", name, "--json")
    shutil.rmtree(result.json["folder"])  # a failed trial leaves its folder for inspection
    assert (result.code, result.json["exit"], result.json["passed"]) == (1, "unauthorised", False)


def run_logs(repo: Repo) -> Iterator[str]:
    """Yield the text of each run log."""
    paths = repo.git("ls-tree", "-r", "--name-only", "gitmill/state", "runs/").splitlines()
    for path in sorted(paths):
        yield repo.git("show", f"gitmill/state:{path}")


def fields(text: str) -> dict[str, Any]:
    """Return the front matter of a document."""
    document = Document.from_bytes(f"{text}\n".encode())
    return {name: document.value(name) for name in document.fields}
