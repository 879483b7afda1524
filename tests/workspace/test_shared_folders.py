"""Which dependency folders of the checkout a tree sees: only what it asks for, and no copy of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gitmill.config import parse_policy
from gitmill.mill import Mill
from gitmill.workspace.shared_folders import Sharing, sharing
from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox

PYPROJECT = '[project]\nname = "shapes"\nversion = "1"\ndependencies = ["six"]\n'


def seen(repo: Repo, policy: str = "", commit: str = "HEAD") -> Sharing:
    mill = Mill.open(repo.path)
    return sharing(mill, parse_policy(policy), repo.tree(commit), repo.path.resolve())


def paths(repo: Repo, policy: str = "", commit: str = "HEAD") -> list[str]:
    return [folder.path for folder in seen(repo, policy, commit).folders]


def why(repo: Repo, path: str, policy: str = "", commit: str = "HEAD") -> str:
    return dict(seen(repo, policy, commit).refused)[path]


def venv(folder: Path, *dists: str) -> Path:
    """Make what a virtual environment looks like; return its site-packages."""
    site = folder / "lib/python3.11/site-packages"
    site.mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\n")
    for dist in dists:
        (site / f"{dist}-1.0.dist-info").mkdir()
    return site


def older(path: Path, seconds: float = 100) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.fixture
def python(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo(
        files={"pyproject.toml": PYPROJECT, ".gitignore": ".venv/\nnode_modules/\n"}
    )
    older(repo.path / "pyproject.toml")
    return repo


@pytest.fixture
def node(sandbox: Sandbox) -> Repo:
    files = {"package.json": '{"name": "top", "workspaces": ["packages/*"]}\n',
             "packages/core/package.json": '{"name": "core"}\n',
             ".gitignore": "node_modules/\n"}  # fmt: skip
    repo = sandbox.repo(files=dict(files))
    for path in files:
        older(repo.path / path)
    return repo


class TestWhatTheTreeAsksFor:
    def test_an_environment_is_shared_while_the_manifest_is_the_one_it_was_installed_from(
        self, python: Repo
    ):
        venv(python.path / ".venv", "six")
        assert paths(python) == [".venv"]
        before = python.git("rev-parse", "HEAD")
        python.commit({"pyproject.toml": PYPROJECT.replace("six", "attrs")})
        assert paths(python, commit=before) == [".venv"]
        assert why(python, ".venv") == "the tree asks for something else in pyproject.toml"

    def test_tables_of_linters_do_not_matter(self, python: Repo):
        venv(python.path / ".venv", "six")
        assert paths(python) == [".venv"]
        python.commit({"pyproject.toml": PYPROJECT + "[tool.ruff]\nline-length = 80\n"})
        assert paths(python) == [".venv"]
        python.commit({"pyproject.toml": PYPROJECT + "[tool.setuptools]\npackages = []\n"})
        assert paths(python) == []

    def test_with_a_lock_file_only_that_counts(self, python: Repo):
        python.commit({"uv.lock": "six==1\n"})
        older(python.path / "uv.lock")
        venv(python.path / ".venv", "six")
        assert paths(python) == [".venv"]
        python.commit({"pyproject.toml": PYPROJECT + "[project.scripts]\nx = 'shapes:x'\n"})
        assert paths(python) == [".venv"]
        python.commit({"uv.lock": "six==2\n"})
        assert why(python, ".venv") == "the tree asks for something else in uv.lock"

    def test_an_environment_older_than_its_manifest_is_not_believed(self, python: Repo):
        site = venv(python.path / ".venv", "six")
        for path in (site / "six-1.0.dist-info", python.path / ".venv/pyvenv.cfg"):
            older(path, 1000)
        assert "it is older than pyproject.toml in the checkout" in why(python, ".venv")
        # The policy can say that it is in step.
        assert paths(python, "[worktree]\nshare = ['.venv']\n") == [".venv"]

    def test_what_was_installed_from_is_remembered_until_something_is_installed(self, python: Repo):
        site = venv(python.path / ".venv", "six")
        assert paths(python) == [".venv"]
        (python.path / "pyproject.toml").touch()  # by a switch of branches
        assert paths(python) == [".venv"]
        python.commit({"pyproject.toml": PYPROJECT.replace("six", "attrs")})
        assert paths(python) == []
        older(python.path / "pyproject.toml")
        (site / "attrs-1.0.dist-info").mkdir()
        assert paths(python) == [".venv"]

    def test_npm_says_itself_what_it_installed(self, node: Repo):
        lock = {"packages": {"": {"name": "top"}, "node_modules/a": {"version": "1"}}}
        node.commit({"package-lock.json": json.dumps(lock)})
        (node.path / "node_modules").mkdir()
        hidden = node.path / "node_modules/.package-lock.json"
        hidden.write_text(json.dumps({"packages": {"node_modules/a": {"version": "1"}}}))
        older(hidden, 1000)
        assert paths(node) == ["node_modules"]
        hidden.write_text(json.dumps({"packages": {"node_modules/a": {"version": "2"}}}))
        assert "older than package-lock.json" in why(node, "node_modules")

    def test_each_folder_with_a_manifest_can_have_its_own(self, node: Repo):
        (node.path / "packages/core/node_modules/x").mkdir(parents=True)
        (node.path / "elsewhere/node_modules/x").mkdir(parents=True)
        (node.path / "node_modules/y").mkdir(parents=True)
        assert paths(node) == ["node_modules", "packages/core/node_modules"]

    def test_the_folder_of_a_member_belongs_to_the_installation_at_the_top(self, node: Repo):
        """An installation leaves what is in step there as it is, however old."""
        node.commit({"pnpm-lock.yaml": "lockfileVersion: '9.0'\n", "packages/lib/a.js": ""})
        within = node.path / "packages/core/node_modules"
        within.mkdir()
        (within / "lib").symlink_to("../../lib")
        os.utime(within / "lib", (1e9, 1e9), follow_symlinks=False)
        assert "older than pnpm-lock.yaml" in why(node, "packages/core/node_modules")
        (node.path / "node_modules").mkdir()
        (node.path / "node_modules/.modules.yaml").write_text("{}\n")
        assert paths(node) == ["node_modules", "packages/core/node_modules"]

    def test_a_new_file_in_a_member_is_no_installation(self, node: Repo):
        node.commit({"packages/lib/a.js": ""})
        within = node.path / "packages/core/node_modules"
        within.mkdir()
        (within / "lib").symlink_to("../../lib")
        before = seen(node).identity
        (node.path / "packages/lib/new.js").write_text("")
        assert (seen(node).identity, bool(before)) == (before, True)

    def test_a_folder_is_never_added_to_a_tree(self, node: Repo):
        (node.path / "packages/core/node_modules/x").mkdir(parents=True)
        assert paths(node) == ["packages/core/node_modules"]
        node.commit({"packages/core/package.json": None})
        assert paths(node) == []

    def test_a_link_is_shared_under_both_names(self, python: Repo):
        python.commit({"envs/README": "Environments.\n"})
        venv(python.path / "envs/three", "six")
        (python.path / ".venv").symlink_to("envs/three")
        assert paths(python) == [".venv", "envs/three"]
        assert {folder.source for folder in seen(python).folders} == {python.path / "envs/three"}


class TestCopies:
    def test_a_copy_of_the_project_is_not_shared(self, python: Repo):
        venv(python.path / ".venv", "six", "shapes")
        assert "it has a copy of shapes" in why(python, ".venv")

    @pytest.mark.parametrize("editable", [True, False])
    def test_a_project_installed_from_the_checkout_is_a_copy_unless_editable(
        self, python: Repo, *, editable: bool
    ):
        site = venv(python.path / ".venv", "other")
        url = {"url": f"file://{python.path}/other", "dir_info": {"editable": editable}}
        (site / "other-1.0.dist-info/direct_url.json").write_text(json.dumps(url))
        assert (paths(python) == [".venv"]) is editable

    def test_an_editable_install_that_needs_an_ignored_build_is_not_shared(self, python: Repo):
        python.commit({"src/shapes/__init__.py": "", ".gitignore": ".venv/\n*.so\n_version.py\n"})
        site = venv(python.path / ".venv", "six")
        (site / "__editable__.shapes.pth").write_text(f"{python.path}/src\n")
        assert paths(python) == [".venv"]
        for name in ("_fast.so", "_version.py"):
            (python.path / "src/shapes" / name).write_text("x\n")
            (site / "__editable__.shapes.pth").touch()  # installed again
            assert f"it needs src/shapes/{name}, which git ignores" in why(python, ".venv")
            (python.path / "src/shapes" / name).unlink()

    def test_a_workspace_member_that_is_no_link_is_a_copy(self, node: Repo):
        (node.path / "node_modules").mkdir()
        (node.path / "node_modules/core").symlink_to("../packages/core")
        assert paths(node) == ["node_modules"]
        (node.path / "node_modules/core").unlink()
        (node.path / "node_modules/core").mkdir()
        assert "core in it is a copy and no link" in why(node, "node_modules")


def test_the_identity_changes_with_what_is_installed_and_from_clone_to_clone(
    python: Repo, sandbox: Sandbox
):
    site = venv(python.path / ".venv", "six")
    first = seen(python).identity
    assert seen(python).identity == first
    (site / "attrs-1.0.dist-info").mkdir()
    second = seen(python).identity
    (site / "six-1.0.dist-info").rmdir()
    third = seen(python).identity
    clone = sandbox.root / "clone"
    python.git("clone", "-q", str(python.path), str(clone))
    subprocess.run(["cp", "-a", str(python.path / ".venv"), str(clone)], check=True)
    other = seen(Repo(clone)).identity
    assert len({first, second, third, other, ""}) == 5


CHECK = "import shapes\nassert shapes.area(3) == 9, shapes.__file__\n"


@pytest.fixture
def installed(sandbox: Sandbox) -> Repo:
    """A project, editable in the `.venv` of its checkout, which is not active."""
    repo = sandbox.repo(
        files={"pyproject.toml": PYPROJECT, ".gitignore": ".venv/\n", "check.py": CHECK,
               "src/shapes/__init__.py": "def area(side):\n    return side * side\n",
               ".gitmill/config.toml": "[checks]\ntest = 'python check.py'\n"}
    )  # fmt: skip
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", repo.path / ".venv"], check=True)
    site = next(repo.path.glob(".venv/lib/python*/site-packages"))
    (site / "__editable__.shapes.pth").write_text(f"{repo.path / 'src'}\n")
    (site / "extra.py").write_text("WHERE = 'the checkout'\n")
    assert gitmill(repo.path, "init").code == 0
    return repo


def passes(repo: Repo) -> list[str]:
    listed = repo.git("ls-tree", "-r", "--name-only", "gitmill/state", "checks").split()
    return [repo.git("show", f"gitmill/state:{path}") for path in listed]


def test_checks_use_the_checkouts_environment_and_test_the_work(installed: Repo):
    broken = new_task(installed.path, "Break", "sed -i s/*/+/ src/shapes/__init__.py",
                      "--criterion", "$ true")  # fmt: skip
    assert gitmill(installed.path, "run", broken).code == 1
    shown = gitmill(installed.path, "task", "show", broken, "--json").json
    assert "AssertionError" in shown["attempts"][0]["findings"][0]["message"]
    new_task(installed.path, "Use", "python -c 'import extra' && echo x > x.txt",
             "--criterion", "$ python -c 'import extra, shapes'")  # fmt: skip
    result = gitmill(installed.path, "run")
    assert "landed" in result.err, result.err
    assert all("\nshared: " in text for text in passes(installed))


def test_what_an_agent_and_a_check_write_to_it_is_gone(installed: Repo):
    extra = next(installed.path.glob(".venv/lib/python*/site-packages/extra.py"))
    name = extra.relative_to(installed.path)
    look = f"grep -q checkout {name} && echo 'WHERE = 1' > {name} && echo x > {name}.new"
    new_task(installed.path, "Plant", f"{look}; echo x > x.txt", "--criterion", f"$ {look}")
    result = gitmill(installed.path, "run")
    assert result.code == 0, result.err
    assert extra.read_text() == "WHERE = 'the checkout'\n"
    assert not extra.with_name("extra.py.new").exists()


def test_a_set_up_that_removes_what_is_shared_makes_its_own(installed: Repo):
    setup = "rm -rf .venv && mkdir -p .venv/bin && ln -s /usr/bin/env .venv/bin/mine"
    policy = f"[worktree]\nsetup = ['{setup}']\n[checks]\ntest = 'test -e .venv/bin/mine'\n"
    installed.commit({".gitmill/config.toml": policy})
    new_task(installed.path, "T", "command -v mine && echo x > x.txt")
    result = gitmill(installed.path, "run")
    assert result.code == 0, result.err
    assert (installed.path / ".venv/bin/python").exists()
    assert all("\nshared: " not in text for text in passes(installed))


def test_an_installation_during_a_check_voids_it(installed: Repo):
    """The check runs again, and only what it says then counts."""
    site = next(installed.path.glob(".venv/lib/python*/site-packages"))
    word = installed.path.parent / "word"
    check = f"if test ! -e {word}; then touch {word}; while test ! -e {word}.done; do sleep 0.1; done; fi"
    installed.commit({".gitmill/config.toml": f"[checks]\ntest = '''{check}'''\n"})
    new_task(installed.path, "T", "echo x > x.txt")
    install = f"while test ! -e {word}; do sleep 0.1; done; mkdir {site}/new-1.dist-info; touch {word}.done"
    with subprocess.Popen(["sh", "-c", install]):
        result = gitmill(installed.path, "run")
    assert result.code == 0, result.err
    assert "something was installed in a folder that the tree shares" in installed.git(
        "log", "--format=%s", "gitmill/state"
    )


def test_files_named_in_worktreeinclude_are_lent_and_never_land(installed: Repo):
    (installed.path / ".gitignore").write_text(".venv/\n.env\n")
    installed.commit({".worktreeinclude": ".env\nplain.txt\n"})
    (installed.path / ".env").write_text("MODE=test\n")
    (installed.path / "plain.txt").write_text("not ignored\n")
    new_task(installed.path, "T", "grep -q test .env; test ! -e plain.txt; cp .env seen.txt",
             "--criterion", "$ grep -q test .env")  # fmt: skip
    result = gitmill(installed.path, "run")
    assert result.code == 0, result.err
    assert installed.git("show", "main:seen.txt") == "MODE=test"
    assert ".env" not in installed.git("ls-tree", "--name-only", "main").split()


def test_a_lent_file_follows_no_link_that_a_set_up_has_made(installed: Repo):
    outside = installed.path.parent / "outside"
    outside.mkdir()
    (installed.path / ".gitignore").write_text(".venv/\nconf\nconf/\n")
    setup = f"rm -rf conf; ln -s {outside} conf"
    policy = f"[worktree]\nsetup = ['{setup}']\n[checks]\none = 'true'\ntwo = 'true'\n"
    installed.commit({".worktreeinclude": "conf/*.env\n", ".gitmill/config.toml": policy})
    (installed.path / "conf").mkdir()
    (installed.path / "conf/a.env").write_text("MODE=test\n")
    new_task(installed.path, "T", "echo x > x.txt")
    result = gitmill(installed.path, "run")
    assert result.code == 0, result.err
    assert list(outside.iterdir()) == []


def test_an_agent_cannot_lend_itself_files(installed: Repo):
    task = new_task(installed.path, "T", "echo .env > .worktreeinclude", "--criterion", "$ true")
    gitmill(installed.path, "run")
    item = gitmill(installed.path, "task", "show", task, "--json").json["item"]
    assert (item["status"], ".worktreeinclude" in item["reason"]) == ("waiting", True)


def test_without_a_sandbox_checks_that_would_import_the_checkout_are_refused(installed: Repo):
    installed.unfence()
    task = new_task(installed.path, "T", "echo x > x.txt")
    env = {"PATH": f"{installed.path.parent}/outside/bin:{os.environ['PATH']}"}
    outside = installed.path.parent / "outside"
    subprocess.run(["cp", "-a", str(installed.path / ".venv"), str(outside)], check=True)
    result = gitmill(installed.path, "run", env=env)
    assert "error[leads-out]: checks would test" in result.err
    assert "`[worktree] setup" in result.err
    item = gitmill(installed.path, "task", "show", task, "--json").json["item"]
    assert (item["status"], item.get("counters", {})) == ("ready", {})
    # Nor does it help to copy that environment.
    policy = f"[worktree]\nsetup = ['cp -a {outside} .venv']\n[checks]\ntest = 'true'\n"
    installed.commit({".gitmill/config.toml": policy})
    gitmill(installed.path, "task", "cancel", task)
    task = new_task(installed.path, "T", "echo x > x.txt")
    assert "error[leads-out]: checks would test" in gitmill(installed.path, "run").err
    # With an environment of its own the tree is what is tested.
    setup = f"cp -a {outside} .venv; rm .venv/lib/python*/site-packages/__ed*"
    policy = f"[worktree]\nsetup = ['{setup}']\n[checks]\ntest = 'python -c \"import extra\"'\n"
    installed.commit({".gitmill/config.toml": policy})
    gitmill(installed.path, "task", "cancel", task)
    new_task(installed.path, "U", "echo x > x.txt")
    result = gitmill(installed.path, "run", env=env)
    assert result.code == 0, result.err


def test_a_copy_in_an_active_environment_elsewhere_is_refused(installed: Repo):
    """`pip install .` leaves one; a suite with a `src` folder would import it."""
    active = installed.path.parent / "active"
    subprocess.run(["cp", "-a", str(installed.path / ".venv"), str(active)], check=True)
    site = next(active.glob("lib/python*/site-packages"))
    info = site / "shapes-1.dist-info"
    info.mkdir()
    url = {"url": f"file://{installed.path}", "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(url))
    env = {"PATH": f"{active / 'bin'}:{os.environ['PATH']}", "VIRTUAL_ENV": str(active)}
    new_task(installed.path, "T", "echo x > x.txt")
    assert gitmill(installed.path, "run", env=env).code == 0  # in place: it leads to the tree
    (info / "direct_url.json").write_text(json.dumps({**url, "dir_info": {}}))
    task = new_task(installed.path, "U", "echo y > x.txt")
    result = gitmill(installed.path, "run", env=env)
    assert f"error[leads-out]: checks would test a copy of shapes in {active}" in result.err
    item = gitmill(installed.path, "task", "show", task, "--json").json["item"]
    assert (item["status"], item.get("counters", {})) == ("ready", {})


def test_a_red_target_names_the_folder_that_the_checks_have_to_do_without(installed: Repo):
    """The check is green in the checkout; a set-up on the target's tip makes it green here."""
    policy = "[checks]\ntest = 'python -c \"import extra\"'\n"
    installed.commit({".gitmill/config.toml": policy})
    info = next(installed.path.glob(".venv/lib/python*/site-packages")) / "shapes-1.dist-info"
    info.mkdir()  # what `pip install .` leaves
    new_task(installed.path, "T", "echo x > x.txt")
    result = gitmill(installed.path, "run")
    assert "error[red-target]: `test` is red on main" in result.err
    assert "not shared: .venv, it has a copy of shapes" in result.err
    assert "hint: make what is not shared: `[worktree] setup`" in result.err
    assert "warning  workspace      .venv is not shared" in gitmill(installed.path, "doctor").out
    setup = "mkdir -p .venv/bin; printf 'exit 0' > .venv/bin/python; chmod +x .venv/bin/python"
    policy = f'[worktree]\nsetup = ["{setup}"]\n{policy}'
    installed.commit({".gitmill/config.toml": policy})
    assert "note     workspace      .venv is not shared" in gitmill(installed.path, "doctor").out
    result = gitmill(installed.path, "run")
    assert "\nlanded t-" in result.err, result.err


def test_a_manifest_is_looked_for_in_each_tree_of_one_process(sandbox: Sandbox):
    """Trees are read once, by their ids: a folder that changes has another."""
    repo = sandbox.repo(
        files={"a/b/x.js": "x\n", "c/package.json": "{}\n", ".gitignore": "node_modules/\n"}
    )
    for folder in ("a/b", "c"):
        (repo.path / folder / "node_modules").mkdir()
    assert [*paths(repo), *(path for path, _ in seen(repo).refused)] == ["c/node_modules"]
    repo.commit({"a/b/package.json": "{}\n", "c/package.json": None})
    assert [*paths(repo), *(path for path, _ in seen(repo).refused)] == ["a/b/node_modules"]
    assert [
        *paths(repo, commit="HEAD~1"),
        *(p for p, _ in seen(repo, commit="HEAD~1").refused),
    ] == ["c/node_modules"]
