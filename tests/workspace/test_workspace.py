"""A command in a worktree sees that worktree, and nothing private of the user."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox

SRC_LAYOUT = {
    "pyproject.toml": '[project]\nname = "shapes"\nversion = "1"\n',
    "src/shapes/__init__.py": "def area(side):\n    return side * side\n",
    "check.py": "import shapes\nassert shapes.area(3) == 9, shapes.__file__\n",
}


@pytest.fixture
def editable(sandbox: Sandbox) -> tuple[Repo, Path]:
    """A src-layout project and a venv in which the user has installed it editable."""
    repo = sandbox.repo(files=SRC_LAYOUT)
    venv = sandbox.root / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    site = next(venv.glob("lib/python*/site-packages"))
    # What `pip install -e .` writes for this layout.
    (site / "__editable__.shapes.pth").write_text(f"{repo.path / 'src'}\n")
    assert gitmill(repo.path, "init").code == 0
    (repo.path / ".gitmill/config.toml").unlink()
    python = venv / "bin/python"
    subprocess.run([python, "check.py"], cwd=repo.path, check=True)
    return repo, python


def test_a_candidate_that_breaks_its_package_goes_red_beside_an_editable_install(
    editable: tuple[Repo, Path],
):
    repo, python = editable
    task = new_task(
        repo.path, "Break it", "sed -i 's/side . side/side/' src/shapes/__init__.py",
        "--criterion", f"$ {python} check.py",
    )  # fmt: skip
    result = gitmill(repo.path, "run")
    assert result.code == 1, result.err
    shown = gitmill(repo.path, "task", "show", task, "--json").json
    assert shown["item"]["status"] == "blocked"
    assert shown["attempts"][0]["verdict"] == "return"
    assert "AssertionError" in shown["attempts"][0]["findings"][0]["message"]
    # The user's own checkout, which the venv points to, is as green as before.
    subprocess.run([python, "check.py"], cwd=repo.path, check=True)


def test_a_change_to_the_package_is_what_gets_tested(editable: tuple[Repo, Path]):
    repo, python = editable
    new_task(
        repo.path, "Add", "echo 'def two(): return 2' >> src/shapes/__init__.py",
        "--criterion", f"$ {python} -c 'import shapes; assert shapes.two() == 2'",
    )  # fmt: skip
    assert gitmill(repo.path, "run").code == 0


def test_scripts_see_no_secrets_no_git_variables_and_their_own_claim(sandbox: Sandbox):
    repo = sandbox.repo()
    assert gitmill(repo.path, "init").code == 0
    task = new_task(repo.path, "Look", "env | sort > seen.txt")
    env = {"DEPLOY_TOKEN": "tok-123456789", "GIT_DIR_X": "no", "PLAIN": "yes"}
    assert gitmill(repo.path, "run", env=env).code == 0
    seen = repo.git("show", "main:seen.txt").splitlines()
    names = {line.partition("=")[0] for line in seen}
    assert "DEPLOY_TOKEN" not in names
    assert not any(name.startswith("GIT_") for name in names)
    assert {"PLAIN", "GITMILL_CLAIM", "GITMILL_ITEM", "GITMILL_ATTEMPT", "TMPDIR"} <= names
    assert f"GITMILL_ITEM={task}" in seen


def test_without_the_sandbox_reflogs_and_a_trace_record_a_scripts_actions(sandbox: Sandbox):
    repo = sandbox.repo()
    repo.unfence()
    assert gitmill(repo.path, "init").code == 0
    new_task(repo.path, "Look", "env | sort > seen.txt")
    assert gitmill(repo.path, "run").code == 0
    seen = repo.git("show", "main:seen.txt").splitlines()
    ours = {"GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "GIT_TRACE2_EVENT"}
    names = {line.partition("=")[0] for line in seen}
    assert {name for name in names if name.startswith("GIT_")} == ours


def test_a_setup_runs_once_for_all_checks_of_a_tree_and_its_products_stay(sandbox: Sandbox):
    """What a check leaves beside them is gone, and so is what it does to the tree."""
    repo = sandbox.repo()
    count = sandbox.root / "count"
    check = "test -e tools/made -a ! -e left && grep -q hello README.md"
    spoil = "touch left; echo spoiled > README.md"
    repo.commit(
        {
            ".gitmill/config.toml": f"[checks]\none = '{check}; {spoil}'\ntwo = '{check}'\n"
            "[worktree]\nsetup = ['mkdir tools; touch tools/made;"
            f" git rev-parse HEAD^{{tree}} >> {count}']\n",
            ".gitignore": "tools/\n",
        }
    )
    assert gitmill(repo.path, "init").code == 0
    script = "test -e tools/made; echo x > x.txt"
    new_task(repo.path, "Task", script, "--criterion", f"$ {check}")
    result = gitmill(repo.path, "run")
    assert result.code == 0, result.err
    built, checked, reviewed = count.read_text().split()
    assert (built, checked, reviewed) == (repo.tree("main~1"), repo.tree("main"), repo.tree("main"))
    assert "tools" not in repo.git("ls-tree", "--name-only", "main")


def test_temporary_files_of_a_setup_are_removed(sandbox: Sandbox):
    setup = 'mkdir -p "$TMPDIR/opencode/plugin"; mkdir "$TMPDIR/verdict-schema.json"; rm "$GITMILL_FINDINGS"'
    repo = sandbox.repo(files={".gitmill/config.toml": f"[worktree]\nsetup = ['{setup}']\n"})
    assert gitmill(repo.path, "init").code == 0
    new_task(repo.path, "Look", 'ls "$TMPDIR" > seen.txt; test -f "$GITMILL_FINDINGS"')
    result = gitmill(repo.path, "run")
    assert result.code == 0, result.err
    assert repo.git("show", "main:seen.txt").split() == ["findings.md", "script.sh"]


def test_a_failed_setup_is_reported_with_its_output_and_costs_no_attempt(sandbox: Sandbox):
    repo = sandbox.repo()
    repo.commit({".gitmill/config.toml": "[worktree]\nsetup = ['echo no such package; exit 4']\n"})
    assert gitmill(repo.path, "init").code == 0
    task = new_task(repo.path, "Never", "true")
    result = gitmill(repo.path, "run")
    assert result.code == 1
    assert "set-up `echo no such package; exit 4` exited with status 4" in result.err
    # Each failed set-up counts as the environment's fault. One that only fails with the work in the
    # tree should cost an attempt; gitmill does not run it without the work yet, so it cannot know.
    item = gitmill(repo.path, "task", "show", task, "--json").json["item"]
    assert (item["status"], item.get("counters", {})) == ("ready", {})
    last = repo.git("log", "-1", "--format=%s", "gitmill/state")
    assert (
        last
        == f"{task}: build released, set-up `echo no such package; exit 4` exited with status 4"
    )


def test_names_of_any_bytes_land_as_they_are(sandbox: Sandbox):
    repo = sandbox.repo(files={"a:b": "no repository for Windows\n"})
    assert gitmill(repo.path, "init").code == 0
    script = (
        'mkdir "a b"; echo x > "a b/-n"; echo x > "q\\"uote"; printf x > "$(printf \'\\377bad\')"'
    )
    new_task(repo.path, "Names", script)
    result = gitmill(repo.path, "run")
    assert result.code == 0, result.err
    names = repo.git("ls-tree", "-r", "-z", "--name-only", "main").split("\0")
    assert set(names) >= {"a b/-n", 'q"uote', "\udcffbad"}
    assert repo.git("status", "--porcelain") == "?? .gitmill/"


def test_a_sha256_repository_works_like_any_other(sandbox: Sandbox):
    repo = sandbox.repo(object_format="sha256")
    assert gitmill(repo.path, "init").code == 0
    new_task(repo.path, "Long ids", "echo x > x.txt")
    result = gitmill(repo.path, "run")
    assert result.code == 0, result.err
    assert len(repo.git("rev-parse", "main")) == 64
    assert repo.git("notes", "--ref=gitmill", "show", "main").startswith("---\nitem: ")
    assert repo.git("fsck", "--no-dangling") == ""
