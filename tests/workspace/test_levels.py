"""What is tested is the work, and nothing but the work, on each of the three levels of a machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.cli import gitmill, new_task
from tests.support.levels import BINDS, LAYERS, LEVELS, NONE, PROGRAMS, take_level
from tests.support.nobody import as_nobody
from tests.support.repos import Repo, Sandbox
from tests.support.seeds import rest_slow

# An editable install and a link of a workspace, made where none is shared.
SETUP = """\
[ -e .venv/bin ] || {
  python3 -m venv --without-pip .venv
  echo "$PWD/src" > "$(echo .venv/lib/python*/site-packages)/__editable__.shapes.pth"
}
[ -e node_modules/core ] || { mkdir -p node_modules; ln -s ../packages/core node_modules/core; }
"""
# The same time and size whatever the tree says: a bytecode cache that lasts would be believed.
PYTHON = "touch -d @1700000000 src/shapes/__init__.py; PYTHONDONTWRITEBYTECODE= python area.py"
POLICY = f"""\
[worktree]
setup = ["sh setup.sh"]
[checks]
python = "{PYTHON}"
node = "node area.js"
home = "python3 home.py && test ! -e ~/.npmrc -a ! -e ~/.cargo/config.toml"
[limits]
returns = 1
"""
FILES: dict[str, str | bytes | None] = {
    "pyproject.toml": '[project]\nname = "shapes"\nversion = "1"\n',
    "src/shapes/__init__.py": "def area(side):\n    return side * side\n",
    "area.py": "import shapes\nassert shapes.area(3) == 9, shapes.__file__\n",
    "package.json": '{"name": "top", "workspaces": ["packages/*"]}\n',
    "packages/core/package.json": '{"name": "core"}\n',
    "packages/core/index.js": "exports.area = side => side * side\n",
    "area.js": "require('assert').equal(require('core').area(3), 9)\n",
    "home.py": "import os\nassert not os.path.exists('bad.txt')\n",
    "setup.sh": SETUP,
    ".gitignore": ".venv/\nnode_modules/\n__pycache__/\n",
    ".gitmill/config.toml": POLICY,
}


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, sandbox: Sandbox) -> str:
    return take_level(request.param)


@pytest.fixture
def repo(level: str, sandbox: Sandbox) -> Repo:
    """A project whose checkout is installed: an editable environment, links between packages."""
    repo = sandbox.repo(files=FILES)
    subprocess.run(["sh", "setup.sh"], cwd=repo.path, check=True)
    (repo.path / "node_modules/absolute").symlink_to(repo.path / "packages/core")
    assert gitmill(repo.path, "init").code == 0
    return repo


def item(repo: Repo, task: str) -> dict:
    return gitmill(repo.path, "task", "show", task, "--json").json


def reason(repo: Repo, task: str) -> str:
    """Return why a task did not land."""
    shown = item(repo, task)
    assert shown["item"]["status"] == "blocked", shown
    return shown["attempts"][0]["findings"][0]["message"]


@pytest.mark.slow
def test_a_red_change_is_refused_and_a_green_one_lands(repo: Repo, level: str):
    """Beside an editable install and links, with caches of the same time and size, in a poisoned home."""
    plant = ('site=$(python3 -c "import site; print(site.getusersitepackages())"); '
             'mkdir -p "$site" ~/.cargo; echo "import os; os._exit(0)" > "$site/usercustomize.py"; '
             "echo script-shell=/bin/true > ~/.npmrc; touch ~/.cargo/config.toml")  # fmt: skip
    green = new_task(repo.path, "Green", f"{plant}; echo '# more' >> area.py")
    scripts = {"python": "sed -i 's/side . side/side + side/' src/shapes/__init__.py",
               "node": "sed -i 's/side . side/side + side/' packages/core/index.js",
               "home": "echo x > bad.txt"}  # fmt: skip
    red = {check: new_task(repo.path, check, f"{plant}; {scripts[check]}") for check in scripts}
    said = gitmill(repo.path, "run")
    assert item(repo, green)["item"]["status"] == "landed", said.err
    for check, task in red.items():
        assert f"check {check} (" in reason(repo, task)
        assert "AssertionError" in reason(repo, task) or check == "node"
    assert ("\nshared: " in passes(repo)) == (level != NONE)


def passes(repo: Repo) -> str:
    listed = repo.git("ls-tree", "-r", "--name-only", "gitmill/state", "checks").split()
    return "\n".join(repo.git("show", f"gitmill/state:{path}") for path in listed)


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("level", LEVELS)
def test_an_ordinary_user_has_the_same_levels(tmp_path: Path, level: str):
    home = tmp_path / "nobody"
    home.mkdir()
    Repo(home / "repo").write(FILES)
    script = (
        'test -z "$1" || git config --global gitmill.bubblewrap "$1"\n'
        "cd repo; git init -q -b main; git add .; git commit -q -m first; sh setup.sh; gitmill init\n"
        "new() { gitmill task new $1 --script \"$2\" --criterion '$ true' --ready; }\n"
        "new Green 'id -u > uid.txt; ls node_modules > seen.txt'\n"
        "new Python \"sed -i 's/side . side/side + side/' src/shapes/__init__.py\"\n"
        "new Node \"sed -i 's/side . side/side + side/' packages/core/index.js\"\n"
        "gitmill run || true\n"
        "git log --format=%s main; git show main:uid.txt; git log -p --all | grep -a '^+sandbox: '\n"
        'test -z "$(git status --porcelain -uno)"; .venv/bin/python area.py; node area.js\n'
    )
    done = as_nobody(home, script, PROGRAMS.get(level, ""))
    assert done.returncode == 0, done.stderr
    assert "\nGreen\nfirst\n65534\n" in done.stdout, done.stdout
    assert "check python failed" in done.stderr
    assert "check node failed" in done.stderr
    enforced = "not enforced" if level == NONE else "bubblewrap"
    assert {line for line in done.stdout.splitlines() if "+sandbox" in line} == {
        f'+sandbox: "{enforced}"'
    }


@pytest.fixture
def linked(sandbox: Sandbox) -> Repo:
    """A workspace of npm that is installed in its checkout, and no set-up."""
    files = {"package.json": '{"name": "top"}\n', ".gitignore": "node_modules/\n"}
    repo = sandbox.repo(files=dict(files))
    (repo.path / "node_modules/dep").mkdir(parents=True)
    (repo.path / "node_modules/dep/index.js").write_text("exports.one = 1\n")
    assert gitmill(repo.path, "init").code == 0
    return repo


def policy(repo: Repo, text: str) -> None:
    repo.commit({".gitmill/config.toml": text}, "policy")


def log_of(repo: Repo, task: str) -> str:
    return repo.git("show", f"gitmill/state:runs/{task[2:4]}/{task}/001-build.md")


@pytest.mark.parametrize(
    "write",
    rest_slow(
        ["echo x > node_modules/dep/index.js", "cd node_modules; mkdir new",
         "rm -rf node_modules"], 1,
    ),
)  # fmt: skip
def test_a_refused_write_below_a_shared_folder_is_named_with_the_way_out(linked: Repo, write: str):
    take_level(BINDS)
    policy(linked, "[limits]\nreturns = 1\n")
    task = new_task(linked.path, "T", "echo x > x.txt", "--criterion", f"$ {write}")
    assert gitmill(linked.path, "run").code == 1
    named = "node_modules is shared with the checkout, and read-only here"
    assert named in reason(linked, task)
    assert "`[worktree] setup`" in reason(linked, task)
    assert "bubblewrap 0.11" in reason(linked, task)
    task = new_task(linked.path, "U", f"({write}) || true; echo u > u.txt")
    assert gitmill(linked.path, "run").code == 0
    assert named in log_of(linked, task)
    assert (linked.path / "node_modules/dep/index.js").read_text() == "exports.one = 1\n"


def test_a_check_that_removes_a_shared_folder_runs_again_without_it(linked: Repo):
    """The folder itself cannot be removed: something is mounted there."""
    install = "mkdir -p node_modules/dep && echo 'exports.one = 2' > node_modules/dep/index.js"
    check = f"rm -rf node_modules && {install} && grep -q 2 node_modules/dep/index.js"
    policy(linked, f'[checks]\nfirst = "true"\ninstalls = "{check}"\n')
    new_task(linked.path, "T", "echo x > x.txt")
    said = gitmill(linked.path, "run")
    assert said.code == 0, said.err
    assert "\nshared: " not in passes(linked)
    assert (linked.path / "node_modules/dep/index.js").read_text() == "exports.one = 1\n"


def test_a_builder_that_removes_a_shared_folder_learns_what_it_is(linked: Repo):
    script = "rm -rf node_modules || true; test ! -e node_modules/dep; echo x > x.txt"
    task = new_task(linked.path, "T", script, "--criterion", "$ test -e node_modules/dep")
    said = gitmill(linked.path, "run")
    assert said.code == 0, said.err
    assert "node_modules is shared with the checkout: it can be emptied" in log_of(linked, task)
    assert (linked.path / "node_modules/dep/index.js").exists()


@pytest.mark.parametrize(
    "level", [LAYERS, *(pytest.param(e, marks=pytest.mark.slow) for e in (BINDS, NONE))]
)
def test_a_long_path_with_spaces_and_quotes(
    sandbox: Sandbox, level: str, monkeypatch: pytest.MonkeyPatch
):
    """Of the checkout, and of what lies beside it: worktrees, homes, layers."""
    take_level(level)
    odd = 'it\'s a "path", $HOME: 100%\\n `x`=;&|*?[a] — ' + "x" * 150
    assert len(odd) >= 190
    monkeypatch.setenv("XDG_STATE_HOME", str(sandbox.root / odd / "state"))
    files: dict[str, str | bytes | None] = {
        "package.json": '{"name": "top"}\n', ".gitignore": "node_modules/\n",
        ".gitmill/config.toml": "[checks]\none = 'test ! -e left; touch left'\n"
        "two = 'test ! -e left'\n"}  # fmt: skip
    repo = sandbox.repo(f"{odd}/repo", files=files)
    (repo.path / "node_modules/dep").mkdir(parents=True)
    assert gitmill(repo.path, "init").code == 0
    look = "test -d node_modules/dep && " if level != NONE else ""
    new_task(repo.path, "T", f'{look}cd "$PWD" && git add -A && echo x > "$PWD/x.txt"')
    said = gitmill(repo.path, "run")
    assert said.code == 0, said.err
    assert repo.git("show", "main:x.txt") == "x"
    assert ("\nshared: " in passes(repo)) == (level != NONE)
