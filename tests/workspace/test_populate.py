"""Submodules in a worktree: as a fresh recursive clone has them, from clones or fetched once."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gitmill.config import Policy
from gitmill.mill import Mill
from gitmill.workspace.open_workspace import open_workspace
from gitmill.workspace.populate import resolved, submodules_of
from gitmill.workspace.stop_token import StopToken
from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox
from tests.support.submodules import ALLOW, nested


@pytest.fixture
def lib(sandbox: Sandbox) -> Repo:
    return nested(sandbox)


@pytest.fixture
def origin(sandbox: Sandbox, lib: Repo) -> Repo:
    origin = sandbox.repo("origin", files={"a.txt": "a\n"})
    origin.git(*ALLOW, "submodule", "--quiet", "add", "../lib", "vendor/my lib")
    origin.git("commit", "-q", "-m", "with lib")
    return origin


@pytest.fixture
def repo(origin: Repo) -> Repo:
    """A clone that has no submodule yet, on a machine that fetches them from local paths."""
    repo = Repo(origin.path.parent / "repo")
    origin.git("clone", "-q", os.fspath(origin.path), os.fspath(repo.path))
    origin.git("config", "--global", "protocol.file.allow", "always")
    assert gitmill(repo.path, "init").code == 0
    return repo


class Locked(BaseHTTPRequestHandler):
    """Wants a name and a password for everything."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="private"')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def locked() -> Iterator[str]:
    """The address of a server of private repositories."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Locked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(params=["auto", pytest.param("off", marks=pytest.mark.slow)])
def either(repo: Repo, request: pytest.FixtureRequest) -> Repo:
    """The same, with a sandbox and without."""
    repo.git("config", "gitmill.sandbox", request.param)
    return repo


WHOLE = (
    '$ test -f "vendor/my lib/lib.txt" && grep deep "vendor/my lib/in/deep/deep.txt" '
    '&& git submodule status --recursive && test -z "$(git status --porcelain)"'
)


def test_submodules_are_there_as_in_a_recursive_clone(either: Repo):
    repo = either
    script = (
        'cat "vendor/my lib/in/deep/deep.txt" >> a.txt; cd "vendor/my lib"; git log origin/main'
    )
    new_task(repo.path, "Use", script, "--criterion", WHOLE)
    said = gitmill(repo.path, "run")
    assert said.code == 0, said.err
    assert repo.git("show", "main:a.txt") == "a\ndeep"
    assert not any((repo.path / "vendor/my lib").iterdir())  # the user's own is not populated
    new_task(repo.path, "Spoil", 'echo b >> a.txt; cd "vendor/my lib"; touch left; rm .git lib.txt')
    new_task(repo.path, "Use", "echo c >> a.txt; test ! -e vendor/*/left", "--criterion", WHOLE)
    (repo.path.parent / "lib").rename(repo.path.parent / "away")  # the objects are at hand now
    said = gitmill(repo.path, "run")
    assert said.code == 0, said.err
    assert repo.git("show", "main:a.txt") == "a\ndeep\nb\nc"


def test_the_clone_that_is_fetched_serves_the_user_too(repo: Repo):
    new_task(repo.path, "Use", "echo b >> a.txt")
    assert gitmill(repo.path, "run").code == 0
    (repo.path.parent / "lib").rename(repo.path.parent / "away")
    repo.git("submodule", "--quiet", "update", "--init")
    assert (repo.path / "vendor/my lib/lib.txt").read_text() == "1\n"


@pytest.mark.parametrize("network", ["on", "off"])
def test_one_that_is_not_available_stops_the_run_once_and_costs_nothing(repo: Repo, network: str):
    policy = f'[sandbox]\nnetwork = "{network}"\n'
    repo.commit({".gitmill/config.toml": policy})
    shutil.rmtree(repo.path.parent / "lib")
    task = new_task(repo.path, "Use", "echo b >> a.txt")
    said = gitmill(repo.path, "run")
    assert said.code == 1
    assert "error[unusable-repository]: the submodule vendor/my lib is not available" in said.err
    assert "`git submodule update --init --recursive -- 'vendor/my lib'`" in said.err
    assert ("the network is off" in said.err) is (network == "off")
    shown = gitmill(repo.path, "task", "show", task, "--json").json
    assert shown["item"]["status"] == "ready"
    assert not list((repo.git_dir / "modules").rglob("HEAD"))


def test_a_pointer_to_what_others_have_pushed_lands(repo: Repo, lib: Repo):
    repo.unfence()  # the sandbox would hide the local path of the remote
    newer = lib.commit({"lib.txt": "2\n"})
    script = 'cd "vendor/my lib"; git fetch -q; git checkout -q origin/main'
    task = new_task(repo.path, "Bump", script)
    said = gitmill(repo.path, "run")
    assert said.code == 3, said.err
    assert gitmill(repo.path, "task", "approve", task).code == 0
    said = gitmill(repo.path, "run")
    assert said.code == 0, said.err
    assert repo.git("rev-parse", "main:vendor/my lib") == newer


def test_an_address_of_a_task_is_not_asked(repo: Repo, lib: Repo):
    other = Repo(lib.path.parent / "deep")
    text = f'[submodule "new"]\n\tpath = new\n\turl = {other.path}\n'
    repo.write({".gitmodules": text})
    repo.git("add", ".gitmodules")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{other.git('rev-parse', 'HEAD')},new")
    work = repo.git("commit-tree", "-m", "work", "-p", "HEAD", repo.git("write-tree"))
    repo.git("reset", "-q", "--hard")
    assert submodules_of(Mill.open(repo.path), work, network=True) == ()
    assert not (repo.git_dir / "modules/new").exists()


def test_a_link_in_the_place_of_a_folder_leads_nowhere(repo: Repo):
    outside = repo.path.parent / "outside/my lib"
    outside.mkdir(parents=True)
    (outside / "mine.txt").write_text("mine\n")
    mill = Mill.open(repo.path)
    commit = repo.git("rev-parse", "main")
    with open_workspace(
        mill, Policy(), commit, kind="clean", claim=mill.new_token(), stop=StopToken()
    ) as workspace:
        shutil.rmtree(workspace.slot.path / "vendor")
        (workspace.slot.path / "vendor").symlink_to(outside.parent)
        workspace.own_git()
        assert (workspace.slot.path / "vendor/my lib/lib.txt").read_text() == "1\n"
        assert not (workspace.slot.path / "vendor").is_symlink()
    assert [path.name for path in outside.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("base", "url", "whole"),
    [
        ("https://host/a/b.git", "../c.git", "https://host/a/c.git"),
        ("https://host/a/b.git/", "../../c/d", "https://host/c/d"),
        ("git@host:a/b.git", "../c.git", "git@host:a/c.git"),
        ("git@host:b.git", "../c.git", "git@host:c.git"),
        ("/srv/a", "./c", "/srv/a/c"),
        ("/srv/a", "https://host/c", "https://host/c"),
    ],
)
def test_a_relative_address_is_relative_to_the_outer_repository(base: str, url: str, whole: str):
    assert resolved(base, url) == whole


@pytest.mark.slow
def test_a_private_address_stops_the_run_once_and_asks_nobody(repo: Repo, locked: str):
    """For git would ask for a name and a password."""
    url = f"{locked}/lib.git"
    repo.git("config", "-f", ".gitmodules", "submodule.vendor/my lib.url", url)
    repo.git("commit", "-qam", "a private address")
    tasks = [new_task(repo.path, title, "echo b >> a.txt") for title in ("One", "Two")]
    said = gitmill(repo.path, "run")
    assert said.code == 1, said.err
    assert said.err.count("error[") == 1
    assert "error[unusable-repository]: the submodule vendor/my lib is not available" in said.err
    assert f"could not read Username for '{locked}'" in said.err
    assert "hint: get it with `git submodule update --init --recursive" in said.err
    for task in tasks:
        item = gitmill(repo.path, "task", "show", task, "--json").json["item"]
        assert (item["status"], item.get("counters", {})) == ("ready", {})


@pytest.mark.slow
def test_a_remote_that_the_sandbox_hides_is_named_with_the_way_out(
    repo: Repo, lib: Repo, tmp_path_factory: pytest.TempPathFactory
):
    hidden = Repo(tmp_path_factory.mktemp("elsewhere") / "lib")
    lib.git("clone", "-q", os.fspath(lib.path), os.fspath(hidden.path))
    repo.git("config", "submodule.vendor/my lib.url", os.fspath(hidden.path))
    task = new_task(repo.path, "Bump", 'cd "vendor/my lib"; git pull -q origin main')
    assert gitmill(repo.path, "run").code == 1
    shown = gitmill(repo.path, "task", "show", task).out
    assert f"'{hidden.path}' does not appear to be a git repository" in shown
    assert f"the sandbox hides the remote {hidden.path}; fetch from it in your checkout" in shown
    assert f"`git config --add gitmill.readable {hidden.path}`" in shown
    hidden.commit({"lib.txt": "2\n"})
    Repo(repo.git_dir / "modules/vendor/my lib").git("fetch", "-q")
    move = new_task(repo.path, "Move", 'git -C "vendor/my lib" checkout -q origin/main')
    said = gitmill(repo.path, "run", move)
    assert f"waiting {move}" in said.err, said.err
