"""No carrier hides a key: 30 kinds, in six kinds of files and output, redacted and refused alike."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from gitmill.attempts import transcripts
from gitmill.core.sanity_rules import ChangedFile, secrets_in
from gitmill.mill import Mill
from gitmill.store import secret_search
from gitmill.workspace import workspace
from tests.support.carriers import CARRIERS, parts_in
from tests.support.cli import gitmill, new_task
from tests.support.planted import made
from tests.support.repos import Repo, Sandbox
from tests.support.seeds import rest_slow

MADE = made()
NAMES = {"notebook": "a.ipynb", "cassette": "cassettes/a.yaml", "fixture": "tests/a.json"}
# A key of several lines differs by what a carrier puts between the lines: indents, `+`.
LINES = {"private key", "service account"}


def test_there_are_thirty_kinds_and_six_carriers():
    assert (len(MADE), len(CARRIERS)) == (30, 6)


@pytest.mark.parametrize("case", rest_slow([(k, c) for k in MADE for c in CARRIERS], 35))
def test_a_key_in_a_carrier_is_redacted_and_refused(case: tuple[str, str]):
    kind, carrier = case
    value, text = MADE[kind]
    carried = CARRIERS[carrier](text)
    assert parts_in(carried, value)  # the carrier has it, and the test can see it
    assert parts_in(secret_search.clean(carried), value) == []
    name = NAMES.get(carrier, "a.txt")
    assert list(secrets_in([ChangedFile(name, None, carried.encode())], secret_search.search))
    # Each line of a live view is a text of its own.
    lines = [secret_search.clean(line) for line in carried.split("\n")]
    if kind not in LINES and carrier != "cassette":
        assert parts_in("\n".join(lines), value) == []


@pytest.mark.parametrize("kind", [kind for kind in MADE if kind not in LINES])
def test_one_digest_allows_a_key_in_every_carrier(kind: str):
    text = MADE[kind][1]
    digests = {secret.digest for secret in secret_search.search(text)}
    for carrier, carry in CARRIERS.items():
        carried = carry(text)
        file = ChangedFile("a.txt", None, carried.encode())
        assert secrets_in([file], secret_search.search, digests) == {}, carrier
        assert secret_search.clean(carried, allowed=digests) == carried


def test_a_key_that_the_target_has_in_another_escape_is_not_new():
    value, text = MADE["azure"]
    old = json.dumps({"a": text.replace("=", "\x1b[m=")}).replace("/", "\\/")
    new = json.dumps(json.dumps(text)).replace("+", "\\u002b")
    assert value not in old
    assert secrets_in([ChangedFile("a", b"", new.encode())], secret_search.search)
    moved = [ChangedFile("a", old.encode(), None), ChangedFile("b", None, new.encode())]
    assert secrets_in(moved, secret_search.search) == {}


@pytest.mark.parametrize("carrier", rest_slow(CARRIERS, 2))
def test_no_half_of_a_key_is_left_where_a_long_output_is_cut(carrier: str):
    """Whatever byte an output is cut at: `Kept` keeps its first and its last bytes."""
    for kind in ("github", "private key"):
        value, text = MADE[kind]
        carried = CARRIERS[carrier](text).encode()
        for at in range(0, len(carried), 13):
            for output in (
                b"before " + carried[:at] + b"\n[9 bytes cut]\n after",
                b"before \n[9 bytes cut]\n" + carried[at:] + b" after",
            ):
                cleaned = workspace._clean(output).decode()
                assert parts_in(cleaned, value) == []
                assert cleaned.startswith("before ")


def holds_none(repo: Repo, folder: Path) -> None:
    """No object, also of those that no ref leads to, and no file of gitmill has a secret."""
    objects = subprocess.run(
        ["git", "cat-file", "--batch-all-objects", "--batch", "--unordered"],
        cwd=repo.path, capture_output=True, check=True,
    ).stdout.decode("utf-8", "replace")  # fmt: skip
    files = [path for path in folder.rglob("*") if path.is_file()]
    everything = "\n".join([objects, *(path.read_text("utf-8", "replace") for path in files)])
    for kind, (value, _) in MADE.items():
        for word in [value, *value.split("\n")]:
            assert len(word) < 12 or word not in everything, kind


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo(files={"a.txt": "a\n"})
    repo.commit({".gitmill/config.toml": "[checks]\ntest = 'true'\n[limits]\nattempts = 1\n"})
    assert gitmill(repo.path, "init").code == 0
    folder = sandbox.root / "carried"
    folder.mkdir()
    for name, carry in CARRIERS.items():
        (folder / name).write_text("".join(carry(text) for _, text in MADE.values()))
    return repo


@pytest.mark.slow
def test_what_an_agent_prints_in_any_carrier_is_in_no_object_and_no_file(repo: Repo):
    task = new_task(repo.path, "T", f"cat {repo.path.parent}/carried/*; echo b > a.txt")
    result = gitmill(repo.path, "run")
    assert result.code == 0, result.err
    kept = transcripts.read(Mill.open(repo.path), task)["001-build.txt"]
    assert kept.count("[redacted]") > 180
    for kind, (value, _) in MADE.items():
        assert parts_in(kept, value) == [], kind
    holds_none(repo, repo.git_dir / "gitmill")


def test_a_notebook_with_keys_in_its_output_is_refused(repo: Repo):
    carried = repo.path.parent / "carried"
    task = new_task(repo.path, "T", f"cp {carried}/notebook a.ipynb; echo good > good.txt")
    before = repo.git("rev-parse", "main")
    assert gitmill(repo.path, "run").code == 1
    assert repo.git("rev-parse", "main") == before
    item = gitmill(repo.path, "task", "show", task, "--json").json["item"]
    assert "a.ipynb:" in item["reason"]
    assert "holds a secret" in item["reason"]
    tree = repo.git("ls-tree", "--name-only", f"refs/gitmill/rescue/{task}/1")
    assert tree.split() == [".gitmill", "a.txt", "good.txt"]
