"""No secret gets into a commit, a ref, a run log or a note, wherever an agent puts it."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from gitmill.core.sanity import ChangedFile, secrets_in
from gitmill.core.verdict import Finding, Verdict, VerdictWord
from gitmill.store import secret_search
from tests.support.cli import gitmill, new_task
from tests.support.planted import made
from tests.support.repos import Repo, Sandbox

MADE = made()
FILLER = "def area(width, height):\n    return width * height  # as on the page before\n"
PLACES = {
    "top": ("a.py", "{}\n" + FILLER),
    "last line without an end": ("a.py", FILLER + "{}"),
    "long line": ("a.js", "var a='" + "ab, " * 5000 + "{}" + " ;b" * 5000 + "'\n"),
    "json": ("a.json", '{"deep": {"key": "{}"}}\n'),
    "yaml": ("a.yml", "deep:\n  key: {}\n"),
    "toml": ("a.toml", '[deep]\nkey = "{}"\n'),
    "python": ("a.py", FILLER + "KEY = '{}'\n"),
    "env": ("settings.env", "DEBUG=1\nKEY={}\n"),
    "markdown": ("a.md", "# Use\n\nType `{}` here.\n"),
    "crlf": ("a.txt", "one\r\n{}\r\ntwo\r\n"),
    "comment": ("a.py", "# {}\n"),
    "allowed by a comment": ("a.py", "KEY = '{}'  # pragma: allowlist secret\n"),
    "allowed by other comments": (
        "a.py",
        "# gitleaks:allow kingfisher:ignore betterleaks:allow\n"
        "K = '{}'  # nosec noqa gitleaks:allow kingfisher:ignore trufflehog:ignore\n",
    ),
    "test": ("tests/fixtures/example_test.py", FILLER + "KEY = '{}'\n"),
    "binary": ("a.bin", "\0\1\2{}\0\3"),
}


def findings(text: str | bytes, name: str = "a.txt", old: str | None = None) -> list[Finding]:
    data = text.encode() if isinstance(text, str) else text
    before = None if old is None else old.encode()
    by_file = secrets_in([ChangedFile(name, before, data)], secret_search.search)
    return [finding for findings in by_file.values() for finding in findings]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", MADE)
def test_a_secret_of_any_kind_anywhere(kind: str, place: str):
    value, text = MADE[kind]
    name, around = PLACES[place]
    content = around.replace("{}", text)
    if place == "crlf":
        content = content.replace("\r\n", "\n").replace("\n", "\r\n")
    found = findings(content, name)
    assert found
    assert not any(value in f"{f.message} {f.file}" for f in found)
    # What was there before, and what is taken away, is nothing that the change brings.
    assert findings(content + "\nmore\n", name, content) == []
    assert findings(FILLER, name, content) == []
    assert value not in secret_search.clean(content)


def test_encoded_secrets_are_found():
    for kind in ("github", "stripe", "npm"):
        data = base64.b64encode(f"token={MADE[kind][0]}".encode()).decode()
        assert findings(f"data:\n  key: {data}\n")
        assert data not in secret_search.clean(f"x {data} y")
    assert findings(f"k = {MADE['github'][0]}".encode("utf-16"))


def test_ordinary_text_is_no_secret():
    for text in (
        FILLER,
        "commit 4bc2fb4f3c0b7d6e1f2a9c8b7d6e5f4a3b2c1d0e\n",
        "sha256:" + "0123456789abcdef" * 4 + "\n",
        "see https://user:password@example.com/ and http://localhost:8080/@me\n",
        "password = getpass()\ntoken = os.environ['TOKEN']\n",
        "key: ${{ secrets.GITHUB_TOKEN }}\n",
        '  "integrity": "sha512-' + base64.b64encode(bytes(range(64))).decode() + '",\n',
        "3f2504e0-4f89-11d3-9a0c-0305e82c3301\n",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    ):
        assert findings(text) == [], text
        assert secret_search.clean(text) == text


def test_values_of_the_environment_however_they_are_written(monkeypatch):
    value = 'pass word/"7é'
    monkeypatch.setenv("MY_DB_PASSWORD", value)
    for written in (value, 'pass word/\\"7\\u00e9', "pass%20word%2F%227%C3%A9",
                    base64.b64encode(f"{value} and more".encode()).decode()):  # fmt: skip
        (found,) = findings(f"one\ntwo {written}\n")
        # A digest would confirm a guess.
        assert found.message == "a.txt:2 holds a secret: a secret of the environment"
        assert written not in secret_search.clean(written)


def test_the_detectors_are_loaded_only_for_text_that_could_hold_a_secret():
    code = (
        "import sys\n"
        "from gitmill.store import secret_search\n"
        "assert list(secret_search.search('echo x > x\\n')) == []\n"
        "assert secret_search.clean('3 passed in 0.01s') == '3 passed in 0.01s'\n"
        "secret_search.clean('T\\n\\nGitmill-Item: t-k3f9x\\nCo-authored-by: shell (gitmill agent) '\n"
        "              '<shell@agents.gitmill.invalid>\\n')\n"
        "print('kingfisher_sdk' in sys.modules)\n"
        f"list(secret_search.search({'_'.join(MADE['vault'])!r}))\n"
        "print('kingfisher_sdk' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\nTrue\n"


def test_a_text_made_to_be_slow_is_searched_quickly():
    for text in ("eyJ_" * 100_000, "sk-" * 100_000, "://a:" * 100_000, "-----BEGIN A" * 50_000):
        list(secret_search.search(text))


def test_every_text_of_a_verdict_is_redacted_even_file_names():
    key = MADE["github"][0]
    verdict = Verdict(
        VerdictWord.RETURN, f"uses {key}", (Finding(f"{key} here", file=f"{key}.txt"),)
    )
    cut = "[redacted]"
    assert secret_search.clean_verdict(verdict) == Verdict(
        VerdictWord.RETURN, f"uses {cut}", (Finding(f"{cut} here", file=f"{cut}.txt"),)
    )


# -- whole runs ------------------------------------------------------------------------------------


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo(files={"a.txt": "a\n"})
    repo.commit({".gitmill/config.toml": "[checks]\ntest = 'true'\n[limits]\nattempts = 1\n"})
    assert gitmill(repo.path, "init").code == 0
    return repo


@pytest.fixture
def planted(sandbox: Sandbox) -> Path:
    """A folder with a file for each secret, which scripts copy from: no script names a value."""
    folder = sandbox.root / "planted"
    folder.mkdir()
    for kind, (_, text) in MADE.items():
        (folder / kind.replace(" ", "-")).write_text(text + "\n")
    return folder


def item(repo: Repo, task: str) -> dict:
    return gitmill(repo.path, "task", "show", task, "--json").json["item"]


def reachable(repo: Repo) -> bytes:
    """Return every object that any ref, reflog, index or worktree leads to, one after the other."""
    names = repo.git("rev-list", "--objects", "--all", "--reflog", "--indexed-objects")
    ids = "\n".join(line.split()[0] for line in names.splitlines()) + "\n"
    done = subprocess.run(
        ["git", "cat-file", "--batch"], cwd=repo.path, input=ids.encode(), capture_output=True,
        check=True,
    )  # fmt: skip
    return names.encode() + done.stdout


def holds_none(repo: Repo, *values: str) -> None:
    everything = reachable(repo)
    assert b"Gitmill-Event" in everything
    for value in values:
        assert value.splitlines()[-1].encode() not in everything


@pytest.mark.parametrize(
    "end", ["true", "exit 3", "git add -A; git commit -q -m mine", "kill -9 $PPID"]
)
def test_no_ref_ever_holds_a_secret_that_an_agent_planted(repo: Repo, planted: Path, end: str):
    script = (
        f"echo good > good.txt; cp {planted}/github conf.txt; cat {planted}/npm >> a.txt; {end}"
    )
    if "git" in end or "kill" in end:
        repo.unfence()  # it cannot do that in the sandbox
    task = new_task(repo.path, "T", script)
    result = gitmill(repo.path, "run")
    assert result.code in (1, 4), result.err
    gitmill(repo.path, "recover")
    holds_none(repo, MADE["github"][0], MADE["npm"][0])
    kept = repo.git("for-each-ref", "--format=%(refname)", "refs/gitmill/rescue")
    assert kept == f"refs/gitmill/rescue/{task}/1"
    # Only the files with secrets are left out, or as they were.
    assert repo.git("ls-tree", "--name-only", kept).split() == [".gitmill", "a.txt", "good.txt"]
    assert repo.git("show", f"{kept}:a.txt") == "a"
    assert "left out: conf.txt:1 holds a secret: github token" in repo.git("log", "-1", kept)


def test_the_builder_gets_the_finding_and_the_ref_of_the_rest(repo: Repo, planted: Path):
    task = new_task(repo.path, "T", f"echo good > good.txt; cp {planted}/stripe conf.txt")
    assert gitmill(repo.path, "run").code == 1
    blocked = item(repo, task)
    assert blocked["status"] == "blocked"
    log = repo.git("show", f"gitmill/state:runs/{task[2:4]}/{task}/001-build.md")
    assert "- high: conf.txt:1 holds a secret: stripe key (digest " in log
    assert f"the work without those files is kept as refs/gitmill/rescue/{task}/1" in log


def test_a_secret_gets_in_by_no_other_way(repo: Repo, planted: Path):
    """By a name, with a rename, under a comment that allows it, in an executable, in a link."""
    old = repo.commit({"old.txt": FILLER * 9, "tests/t.py": FILLER})
    ways = {
        "name": f'touch "$(cat {planted}/gitlab)"',
        "rename": f"mv old.txt new.txt; cat {planted}/gitlab >> new.txt",
        "comment": f'echo "$(cat {planted}/gitlab) # pragma: allowlist secret" >> tests/t.py',
        "executable": f"cp {planted}/gitlab run.sh; chmod +x run.sh",
        "link": f'ln -s "$(cat {planted}/gitlab)" link',
    }
    for way, script in ways.items():
        task = new_task(repo.path, way, script)
        assert gitmill(repo.path, "run", task).code == 1, way
        assert "holds a secret: gitlab token" in item(repo, task)["reason"], way
    assert repo.git("rev-parse", "main") == old
    holds_none(repo, MADE["gitlab"][0])


def test_a_file_with_a_secret_in_its_name_and_another_in_its_text(repo: Repo, planted: Path):
    script = f'cp {planted}/github "$(cat {planted}/gitlab)"; echo good > good.txt'
    task = new_task(repo.path, "T", script)
    assert gitmill(repo.path, "run").code == 1
    kept = repo.git("log", "-1", "--format=%B", f"refs/gitmill/rescue/{task}/1")
    assert "left out: [redacted]:1 holds a secret: github token" in kept
    holds_none(repo, MADE["github"][0], MADE["gitlab"][0])


def test_a_secret_that_the_target_holds_already_stops_nothing(repo: Repo, planted: Path):
    repo.commit({"conf.txt": f"one\n{MADE['github'][0]}\ntwo\n", "gone.txt": MADE["npm"][0]})
    new_task(repo.path, "T", "echo more >> conf.txt; rm gone.txt; mv conf.txt moved.txt")
    result = gitmill(repo.path, "run")
    assert result.code == 0, result.err
    assert repo.git("ls-tree", "--name-only", "main").split() == [".gitmill", "a.txt", "moved.txt"]


def test_a_person_may_allow_a_value_on_the_target_and_an_agent_may_not(repo: Repo, planted: Path):
    digest = findings(MADE["slack"][0])[0].message.partition("digest ")[2].rstrip(")")
    allow = f'[sanity]\\nallow_secrets = ["{digest}"]\\n'
    script = f"cp {planted}/slack conf.txt; printf '{allow}' >> .gitmill/config.toml"
    task = new_task(repo.path, "T", script)
    assert gitmill(repo.path, "run").code == 1
    assert "holds a secret" in item(repo, task)["reason"]
    config = (
        repo.git("show", "main:.gitmill/config.toml")
        + f'\n[sanity]\nallow_secrets = ["{digest}"]\n'
    )
    repo.commit({".gitmill/config.toml": config})
    assert (
        gitmill(repo.path, "task", "edit", task, "--script", f"cp {planted}/slack conf.txt").code
        == 0
    )
    assert gitmill(repo.path, "task", "retry", task).code == 0
    result = gitmill(repo.path, "run")
    assert result.code == 0, result.err
    assert repo.git("show", "main:conf.txt") == MADE["slack"][0]


def test_a_person_gets_an_error_before_anything_is_recorded(repo: Repo):
    task = new_task(repo.path, "Mine", "true")
    folder = Path(gitmill(repo.path, "task", "take", task).out.strip())
    (folder / "conf.txt").write_text(f"KEY={MADE['anthropic'][0]}\n")
    (folder / "mine.txt").write_text("work\n")
    result = gitmill(repo.path, "task", "submit", task)
    assert result.code == 3
    assert result.err.splitlines()[0].startswith("error[holds-secret]: your work on")
    assert "conf.txt:1 holds a secret: ai key (digest " in result.err
    assert item(repo, task)["status"] == "running"
    assert (folder / "mine.txt").read_text() == "work\n"
    holds_none(repo, MADE["anthropic"][0])
    (folder / "conf.txt").unlink()
    assert gitmill(repo.path, "task", "submit", task).code == 0
    assert gitmill(repo.path, "run").code == 0
    assert repo.git("show", "main:mine.txt") == "work"
    holds_none(repo, MADE["anthropic"][0])


def test_run_logs_notes_and_messages_are_free_of_secrets(repo: Repo, planted: Path, monkeypatch):
    """In an agent's summary and findings, and in the output of script, check and criterion."""
    monkeypatch.setenv("MY_PASSWORD", "opensesame77")
    agent = (
        f"cat {planted}/*; echo done > done.txt; cat > /dev/null; "
        f'echo \'{{"verdict": "pass", "summary": "with \'$(cat {planted}/npm)\' and open\'sesame77\'"}}\''
    )
    (planted.parent / "agent.sh").write_text(agent)
    repo.commit(
        {
            ".gitmill/config.toml": f"[checks]\ntest = 'cat {planted}/*; echo open\"sesame\"77'\n"
            f"[agents.mine]\ncommand = ['/bin/sh', '{planted.parent}/agent.sh']\n"
            "[modes.own]\nroles = {builder = 'command', reviewer = 'rules'}\n"
        }
    )
    task = new_task(
        repo.path,
        "T",
        f'cat {planted}/*; echo x > x; echo open"sesame"77',
        "--criterion",
        f'$ cat {planted}/*; echo open"sesame"77; test ! -e no.txt',
    )
    red = new_task(
        repo.path,
        "R",
        f'cat {planted}/*; echo y > no.txt; echo open"sesame"77',
        "--criterion",
        f'$ cat {planted}/*; echo open"sesame"77; test ! -e no.txt',
    )
    gitmill(repo.path, "run")
    assert item(repo, task)["status"] == "landed"
    assert item(repo, red)["status"] == "blocked"
    holds_none(repo, "opensesame77", *(value for value, _ in MADE.values()))
    runs = repo.git("grep", "-c", "-F", "[redacted]", "gitmill/state", "--", "runs/")
    assert len(runs.splitlines()) >= 3


def test_a_file_whose_name_marks_it_as_secret_is_in_no_ref_either(repo: Repo):
    task = new_task(repo.path, "T", "echo PIN=1''234 > .env; echo good > good.txt")
    assert gitmill(repo.path, "run").code == 1
    assert item(repo, task)["reason"].endswith(".env is a kind of file that holds secrets")
    assert repo.git("show", f"refs/gitmill/rescue/{task}/1:good.txt") == "good"
    holds_none(repo, "PIN=1234")
