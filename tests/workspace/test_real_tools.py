"""Projects as real tools install them: their checks test the work, and the checkout stays as it was.

In each project a user has installed the dependencies, with the tool's own command. A change that
breaks the package under test has to be refused, so the check did not test the checkout.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.build_tools import path_with
from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox

pytestmark = pytest.mark.slow

AREA = "def area(side):\n    return side * side\n"
CUBE = "from shapes import area\n\n\ndef cube(side):\n    return area(side) * side\n"
CHECK = "from app import cube\n\nassert cube(3) == 27, cube(3)\n"
TEST = "from shapes import area\n\n\ndef test_area():\n    assert area(3) == 9\n"
IGNORED = ".venv/\n__pycache__/\n*.egg-info/\nbuild/\n*.so\nnode_modules/\ndist/\n.yarn/\ntarget/\n"
SETUPTOOLS = ("setuptools==80.9.0", "setuptools.build_meta")
UV_BUILD = ("uv_build>=0.13,<0.14", "uv_build")  # uv has it built in
POETRY = ("poetry-core>=2", "poetry.core.masonry.api")
# In the tests' own interpreter, without pip of its own: that takes seconds.
VENV = f"{sys.executable} -m venv --without-pip .venv"
PIP = f"{sys.executable} -m pip --python .venv/bin/python install -q"
UV_PIP = f"uv venv -q -p {sys.executable} && uv pip install -q"


def broken(path: str) -> str:
    """Return a script that breaks the function `area` in a file."""
    return f"sed -i 's/side \\* side/side + side/' {path}"


def pyproject(name: str, build: tuple[str, str], *tables: str, needs: tuple[str, ...] = ()) -> str:
    return (
        f'[project]\nname = "{name}"\nversion = "1"\nrequires-python = ">=3.11"\n'
        f"dependencies = {json.dumps(needs)}\n"
        f'[build-system]\nrequires = ["{build[0]}"]\nbuild-backend = "{build[1]}"\n'
        + "\n".join(tables)
    )


def node(core: str, *more: tuple[str, str], outside: bool = True, **top: Any) -> dict[str, str]:
    """Return a workspace of Node: `app` uses `core`, whose `dist/` is built and ignored by git.

    `core` is the version that `app` asks for, `top` more of the `package.json` at the top.
    """
    needs = {"core": core} | ({"is-number": "7.0.0"} if outside else {})
    app = {"scripts": {"test": "node check.js"}, "dependencies": needs}
    build = {"main": "dist/index.js", "scripts": {"build": "mkdir -p dist; cp src/index.js dist"}}
    test = "require('assert').equal(require('core').area(3), 9)\n"
    package = {"version": "1.0.0", "private": True}
    return {
        "package.json": json.dumps({"name": "top", **package, **top}),
        "packages/core/package.json": json.dumps({"name": "core", **package, **build}),
        "packages/core/src/index.js": "exports.area = side => side * side\n",
        "packages/app/package.json": json.dumps({"name": "app", **package, **app}),
        "packages/app/check.js": ("require('is-number')\n" if outside else "") + test,
        **dict(more),
    }


NPM = "npm install -s --no-audit --no-fund"
BUILT = "cd packages/core; mkdir -p dist; cp src/index.js dist"
MEMBERS = ["packages/*"]
BROKEN_CORE, SAYS_CORE = broken("packages/core/src/index.js"), "6 == 9"
C = r"""
#define PY_SSIZE_T_CLEAN
#include <Python.h>
static PyObject *area(PyObject *self, PyObject *arg) {
    long side = PyLong_AsLong(arg);
    return PyLong_FromLong(side * side);
}
static PyMethodDef methods[] = {{"area", area, METH_O, ""}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_fast", "", -1, methods};
PyMODINIT_FUNC PyInit__fast(void) { return PyModule_Create(&module); }
"""


@dataclass(frozen=True)
class Project:
    """A project, and what its user has typed to install it, with these `tools`.

    `red` breaks a package whose users the check tests; its output contains `says` then. Without a
    `check` it is the one that `init` proposes. The folders in `shared` are the checkout's; that in
    `refused` is not, for a reason that begins so.
    """

    files: dict[str, str]
    install: str
    red: str
    says: str
    tools: tuple[str, ...] = ()
    check: str = ""
    setup: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    refused: str = ""

    @property
    def policy(self) -> str:
        return (
            f"[limits]\nreturns = 1\n[checks]\ntest = {json.dumps(self.check)}\n"
            f"[worktree]\nsetup = {json.dumps(self.setup)}\n"
        )


PROJECTS = {
    "python-src-layout-from-init": Project(
        {"pyproject.toml": pyproject("shapes", SETUPTOOLS,
                                     '[project.optional-dependencies]\ntest = ["pytest==9.0.2"]'),
         "src/shapes/__init__.py": AREA, "tests/test_area.py": TEST},
        f"{VENV}; {PIP} -e '.[test]'", broken("src/shapes/__init__.py"), "assert 6 == 9",
        shared=(".venv",),
    ),
    "npm-workspace-from-init": Project(
        node("*", outside=False, workspaces=MEMBERS,
             scripts={"pretest": "npm run -s build -w core", "test": "npm test -s -w app"}),
        f"{NPM}; {BUILT}", BROKEN_CORE, SAYS_CORE, shared=("node_modules",),
    ),
    "pip-copy": Project(
        {"pyproject.toml": pyproject("app", UV_BUILD, '[tool.uv.build-backend]\n'
                                     'module-name = ["app", "shapes"]'),
         "src/shapes/__init__.py": AREA, "src/app/__init__.py": CUBE, "check.py": CHECK},
        f"{VENV}; {PIP} .", broken("src/shapes/__init__.py"), "AssertionError: 18",
        ("uv",), "python check.py", (f"{UV_PIP} .",),
        refused=".venv is not shared: it has a copy of app, which the tree itself contains",
    ),
    "uv-workspace": Project(
        {"pyproject.toml": '[project]\nname = "top"\nversion = "1"\nrequires-python = ">=3.11"\n'
                           '[tool.uv.workspace]\nmembers = ["packages/*"]\n',
         "packages/shapes/pyproject.toml": pyproject("shapes", UV_BUILD),
         "packages/shapes/src/shapes/__init__.py": AREA,
         "packages/app/pyproject.toml": pyproject(
             "app", UV_BUILD, "[tool.uv.sources]\nshapes = { workspace = true }",
             needs=("shapes",)),
         "packages/app/src/app/__init__.py": CUBE, "check.py": CHECK},
        f"uv sync -q -p {sys.executable} --all-packages", broken("packages/shapes/src/shapes/__init__.py"),
        "AssertionError: 18", ("uv",), "uv run python check.py", shared=(".venv",),
    ),
    "poetry": Project(
        {"poetry.toml": "[virtualenvs]\nin-project = true\n",
         "pyproject.toml": pyproject(
             "app", POETRY, "[tool.poetry]",
             'packages = [{ include = "app", from = "src" }, { include = "shapes", from = "src" }]'),
         "src/shapes/__init__.py": AREA, "src/app/__init__.py": CUBE, "check.py": CHECK},
        "poetry install -q", broken("src/shapes/__init__.py"), "AssertionError: 18",
        ("poetry",), "poetry run python check.py", shared=(".venv",),
    ),
    "compiled-extension": Project(
        {"pyproject.toml": pyproject("shapes", SETUPTOOLS),
         "setup.py": "from setuptools import Extension, setup\n\n"
                     'setup(ext_modules=[Extension("shapes._fast", ["src/shapes/_fast.c"])])\n',
         "src/shapes/__init__.py": "from shapes._fast import area\n", "src/shapes/_fast.c": C,
         "check.py": "from shapes import area\n\nassert area(3) == 9, area(3)\n"},
        f"{UV_PIP} -e .", broken("src/shapes/_fast.c"), "AssertionError: 6",
        ("uv", "gcc"), "python check.py", (f"{UV_PIP} -e .",),
        refused=".venv is not shared: it needs src/shapes/_fast.",
    ),
    "pnpm-workspace": Project(
        node("workspace:*", ("pnpm-workspace.yaml", "packages: ['packages/*']\n")),
        f"pnpm install -s; {BUILT}", BROKEN_CORE, SAYS_CORE,
        ("pnpm",), "pnpm --filter app test", ("pnpm --filter core build",),
        shared=("node_modules", "packages/app/node_modules"),
    ),
    "yarn-workspace": Project(
        node("*", workspaces=MEMBERS), f"yarn install -s; {BUILT}", BROKEN_CORE, SAYS_CORE,
        ("yarn",), "yarn -s workspace app test", ("yarn -s workspace core build",),
        shared=("node_modules",),
    ),
    "yarn-berry-workspace": Project(
        node("workspace:*", (".yarnrc.yml", "nodeLinker: node-modules\nenableTelemetry: false\n"),
             workspaces=MEMBERS),
        f"yarn install; {BUILT}", BROKEN_CORE, SAYS_CORE,
        ("berry",), "yarn workspace app test", ("yarn workspace core build",),
        shared=("node_modules",),
    ),
    "cargo-workspace": Project(
        {"Cargo.toml": '[workspace]\nresolver = "2"\nmembers = ["shapes", "app"]\n',
         "shapes/Cargo.toml": '[package]\nname = "shapes"\nversion = "1.0.0"\nedition = "2021"\n',
         "shapes/src/lib.rs": "pub fn area(side: i32) -> i32 {\n    side * side\n}\n",
         "app/Cargo.toml": '[package]\nname = "app"\nversion = "1.0.0"\nedition = "2021"\n'
                           '[dependencies]\nshapes = { path = "../shapes" }\n',
         "app/src/lib.rs": "#[test]\nfn area() {\n    assert_eq!(shapes::area(3), 9);\n}\n"},
        "cargo test -q", broken("shapes/src/lib.rs"), "left: 6", ("cargo",), "cargo test -q",
    ),
    # A test would first compile Go's own library, for half a minute: no build cache is shared.
    "go-module": Project(
        {"go.mod": "module example.com/app\n\ngo 1.21\n",
         "shapes/shapes.go": "package shapes\n\nfunc Area(side int) int { return side * side }\n",
         "app.go": 'package app\n\nimport "example.com/app/shapes"\n\n'
                   "func Cube(side int) int { return side * shapes.Area(side) }\n"},
        "go build ./...", "sed -i 's/Area/Square/' shapes/shapes.go", "undefined: shapes.Area",
        ("go",), "go build ./...",
    ),
}  # fmt: skip


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    return lambda *names: monkeypatch.setenv("PATH", path_with(*names))


@pytest.mark.parametrize("name", PROJECTS)
def test_a_good_change_lands_and_one_that_breaks_the_work_is_refused(
    sandbox: Sandbox, tools: Callable[..., None], name: str
):
    project = PROJECTS[name]
    tools(*project.tools)
    repo = installed(sandbox, project)
    before = dict(everything(repo.path))
    new_task(repo.path, "Good", "echo new > new.txt")
    lands(repo)
    after = dict(everything(repo.path))
    assert before == {path: seen for path, seen in after.items() if path != "new.txt"}
    task = new_task(repo.path, "Break", project.red)
    said = gitmill(repo.path, "run", task)
    assert said.code != 0, said.err
    shown = gitmill(repo.path, "task", "show", task, "--json").json
    assert project.says in shown["attempts"][0]["findings"][0]["message"], shown["attempts"]
    assert dict(everything(repo.path)) == after
    assert repo.git("status", "--porcelain") == ""


def test_a_task_that_changes_the_lock_file_gets_the_dependencies_of_its_own(
    sandbox: Sandbox, tools: Callable[..., None]
):
    """The set-up removes the shared folder, as people's do; a task may do so as well."""
    tools("npm")
    project = Project(
        node("*", workspaces=MEMBERS), f"{NPM}; {BUILT}", "", "", (), "npm test -s -w app",
        ("rm -rf node_modules && npm ci -s --no-audit --no-fund", "npm run -s build -w core"),
        shared=("node_modules",),
    )  # fmt: skip
    repo = installed(sandbox, project)
    before = dict(everything(repo.path / "node_modules"))
    new_task(repo.path, "Remove", "rm -rf node_modules && test ! -e node_modules; echo x > x.txt")
    lands(repo)
    add = f"{NPM} -w app is-odd@3.0.1; sed -i '1i require(\"is-odd\")' packages/app/check.js"
    new_task(repo.path, "Add", add)
    lands(repo)
    assert "is-odd" in repo.git("show", "main:package-lock.json")
    assert dict(everything(repo.path / "node_modules")) == before


def installed(sandbox: Sandbox, project: Project) -> Repo:
    """Return a project after its installation; what that and `init` have written is committed."""
    repo = sandbox.repo(files={".gitignore": IGNORED, **project.files})
    sh(repo, project.install)
    assert gitmill(repo.path, "init").code == 0
    if project.check:
        repo.write({".gitmill/config.toml": project.policy})
    repo.commit({}, "gitmill")
    shown = gitmill(repo.path, "doctor").out
    assert f"and share {', '.join(project.shared) or 'nothing'} with it" in shown, shown
    assert project.refused in shown
    assert ("is not shared" in shown) is bool(project.refused), shown
    return repo


def lands(repo: Repo) -> None:
    said = gitmill(repo.path, "run")
    assert (said.code, "\nlanded t-" in said.err) == (0, True), said.err
    assert repo.git("status", "--porcelain") == ""


def sh(repo: Repo, script: str) -> None:
    """Run a script as the user types it at home: under `CI` yarn makes no lock file."""
    env = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        ["sh", "-ec", script], cwd=repo.path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def everything(folder: Path) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Yield each file of a checkout outside of `.git`, with its mode, time and content."""
    for at, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != ".git"]
        for path in (Path(at, name) for name in files):
            info = path.lstat()
            data = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            yield str(path.relative_to(folder)), (info.st_mode, info.st_mtime_ns, digest)
