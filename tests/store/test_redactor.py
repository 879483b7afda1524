"""The chokepoint of the state branch: whoever writes, no commit brings a secret."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gitmill.core.document import Document
from gitmill.core.item import KEYS
from gitmill.core.lifecycle import Event
from gitmill.core.runlog import RunLog
from gitmill.core.trailers import EventRecord, parse_message
from gitmill.core.verdict import Finding, Verdict, VerdictWord
from gitmill.errors import HoldsSecretError
from gitmill.git.objects import read_commit
from gitmill.mill import Mill
from gitmill.people import intake
from gitmill.store import layout, redactor, secret_search
from gitmill.store.transaction import StateCommit
from tests.support.cli import begun, gitmill
from tests.support.planted import made
from tests.support.repos import Repo, Sandbox
from tests.support.steps import step

MADE = made()
PASSWORD = 'open "sesame" 77é'
SECRETS = {
    "of the environment": (PASSWORD, PASSWORD),
    "of a known shape": MADE["github"],
    "that a detector knows": MADE["digitalocean"],
    "of many lines": MADE["private key"],
}
each = pytest.mark.parametrize("kind", SECRETS)


@pytest.fixture
def repo(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Repo:
    monkeypatch.setenv("MY_PASSWORD", PASSWORD)
    return begun(sandbox)


@pytest.fixture
def mill(repo: Repo) -> Mill:
    return Mill.open(repo.path)


def objects(mill: Mill) -> str:
    done = subprocess.run(
        ["git", "cat-file", "--batch-all-objects", "--batch"],
        cwd=mill.repository.common, capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout.decode("utf-8", "replace").replace('\\"', '"').replace("\\n", "\n")


def new(mill: Mill, title: str = "Say hello") -> str:
    return intake.new_task(mill, intake.NewTask(title=title, body="Hello.")).id


@each
def test_text_of_agents_is_redacted_wherever_it_is_written(mill: Mill, kind: str):
    value, text = SECRETS[kind]
    task = new(mill)
    before = mill.snapshot().item(task).document.text
    verdict = Verdict(VerdictWord.FAIL, f"uses {text}", (Finding(text, file=f"{text}.py"),))
    run = RunLog(
        item=task, stage="build", verdict=verdict, by="me", started="2026-01-02T03:04:05Z",
        facts={"session": text, "problem": text, "denied": [text], "mine": {text: [text]}},
        output=f"line\n{text}\n",
    )  # fmt: skip
    made = step(Event.BLOCKED, subject=f"blocked, {text}", by="me", fields={"reason": f"Why: {text}"},
        run=("build", run.document(1)), extra={"Put-Back": text},
    )  # fmt: skip
    snapshot = mill.apply(task, made)
    assert value not in objects(mill)
    log = snapshot.read(layout.run_path(task, 1, "build"))
    assert log is not None
    assert log.count(b"[redacted]") >= 8
    assert "uses [redacted]" in Document.from_bytes(log).text_value("summary")
    assert "[redacted]" in snapshot.item(task).reason
    # The evidence is the blob that was written, and every other line is as it was.
    _, record = parse_message(read_commit(mill.store.backend, snapshot.commit).message)
    assert record is not None
    assert mill.store.backend.read(record.evidence)[1] == log
    after = snapshot.item(task).document.text.splitlines()
    gone = [line.partition(":")[0] for line in before.splitlines() if line not in after]
    assert gone in (["status", "event"], ["status", "event", "since"])


def test_what_only_lines_together_show_to_be_a_secret_is_redacted_and_no_error(mill: Mill):
    """No text of an agent may keep its attempt from being recorded."""
    value, task = MADE["aws secret key"][0], new(mill)
    body = "aws_secret_access_key =\n" + "Hello.\n" * 5 + value
    assert not list(secret_search.search(body))  # `Hello.` is there already, the rest is new
    after = mill.apply(task, step(Event.EDITED, subject="edited", by="me", body=body))
    assert after.item(task).document.body == body.replace(value, "[redacted]")
    assert value not in objects(mill)


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        *((kind, place) for kind in list(SECRETS)[:2] for place in ("by", "stage", "plan", "path")),
        *((kind, "script") for kind in SECRETS),
    ],
)
def test_a_secret_where_others_refer_to_it_is_an_error_and_writes_nothing(
    mill: Mill, kind: str, place: str
):
    value, text = SECRETS[kind]
    task = new(mill)
    files = {"plan": {layout.plan_path("0" * 12): f"prompt: {text}\n".encode()},
             "path": {f"runs/{text.replace('/', '')}.md": b"---\n---\n"}}  # fmt: skip
    made = step(Event.EDITED, subject="edited", by=text if place == "by" else "me",
        stage=text if place == "stage" else None,
        fields={"script": f"echo {text}"} if place == "script" else {},
        files=files.get(place, {}),
    )  # fmt: skip
    tip = mill.snapshot().commit
    with pytest.raises(HoldsSecretError, match="so nothing was written"):
        mill.apply(task, made)
    assert mill.snapshot().commit == tip
    assert value not in objects(mill)


def test_the_identity_of_git_is_searched_too(repo: Repo, mill: Mill):
    repo.git("config", "user.name", MADE["github"][0])
    with pytest.raises(HoldsSecretError, match=r"the identity that git has for you holds a secret"):
        new(Mill.open(repo.path))
    assert MADE["github"][0] not in objects(mill)


def test_what_the_branch_holds_already_stays_to_the_byte(mill: Mill):
    """A secret of an older version, or one that only this machine's environment knows."""
    task, old = new(mill), f"mine: [ {MADE['github'][0]} ]  # odd\n"
    path = layout.item_path(task)
    text = mill.snapshot().item(task).document.text.replace("priority:", f"{old}priority:")
    text += f"\nWith {MADE['npm'][0]}.\n"
    oid = mill.store.backend.write("blob", text.encode())
    entry = mill.store.backend.read(oid) and _entry(path, oid)
    record = EventRecord(event="board", id=mill.new_token(), by="me")
    mill.store.commit(lambda _: StateCommit("old", record, {path: entry}))
    after = mill.apply(
        task, step(Event.EDITED, subject="edited", by="me", fields={"title": "Other"})
    )
    assert old in after.item(task).document.text
    assert after.item(task).document.body == mill.store.at(after.commit).item(task).document.body
    assert MADE["npm"][0] in after.item(task).document.body
    # Once a text changes, all of it is redacted.
    after = mill.apply(
        task, step(Event.EDITED, subject="edited", by="me", body=f"{text[-60:]}\nMore.\n")
    )
    assert MADE["npm"][0] not in after.item(task).document.body


def _entry(path: str, oid: str):
    from gitmill.git.objects import FILE, Entry

    return Entry(path.rpartition("/")[2], FILE, oid)


def test_a_note_is_redacted(mill: Mill):
    note = Document.new({"title": f"Use {MADE['github'][0]}", "work": "0" * 40}, "").to_bytes()
    redacted = mill.store.redactor.file("note", note)
    assert redacted == note.replace(MADE["github"][0].encode(), b"[redacted]")


def test_allowed_values_are_written(repo: Repo, monkeypatch: pytest.MonkeyPatch):
    value, plain = MADE["slack"][0], "swordfish-99"
    monkeypatch.setenv("OTHER_TOKEN", plain)
    mill = Mill.open(repo.path)
    digest = secret_search.search(value)[0].digest
    both = (digest, secret_search.search(plain)[0].digest)
    for allowed, last in (((digest,), "[redacted]"), (both, plain)):
        mill = Mill.open(repo.path, allowed_secrets=lambda _, allowed=allowed: allowed)
        task = new(mill)
        made = step(Event.BLOCKED, subject="b", by="me", fields={"reason": f"{value} {plain}"})
        assert mill.apply(task, made).item(task).reason == f"{value} {last}"


def test_a_plain_transition_loads_no_detectors(repo: Repo):
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from gitmill.flows.open_mill import open_mill\n"
        "from gitmill.flows.task import decide, edit_task, new_task\n"
        "from gitmill.flows.show import redraw\n"
        f"mill = open_mill(Path({str(repo.path)!r}), report=print)\n"
        "item = new_task(mill, title='Say hello', body='Be kind to all of them.\\n\\n- once',\n"
        "                script='make fmt', criteria=['$ python -m pytest -q'], ready=True)\n"
        "edit_task(mill, item.id, {'title': 'Say it twice'}, body=None)\n"
        "decide(mill, 'block', item.id, 'not now')\n"
        "redraw(mill)\n"
        "print('kingfisher_sdk' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"


def test_a_secret_of_the_policy_is_not_copied_into_a_frozen_plan(repo: Repo):
    key = MADE["github"][0]
    repo.commit({".gitmill/config.toml": f"[checks]\ntest = 'test {key}'\n"})
    tip = repo.git("rev-parse", "gitmill/state")
    assert gitmill(repo.path, "task", "new", "T", "--script", "true", "--ready").code == 0
    ready = repo.git("rev-parse", "gitmill/state")
    result = gitmill(repo.path, "run", env={"GITMILL_TRUST": "1"})
    assert result.code == 3, result.err
    assert "error[holds-secret]: frozen/" in result.err
    assert repo.git("rev-parse", "gitmill/state") == ready != tip
    assert repo.git("grep", "-c", key, "gitmill/state", check=False) == ""


def test_every_key_of_an_item_is_known_to_be_text_or_not():
    """A new key is text, which may be altered, until somebody decides otherwise."""
    text = {"title", "labels", "reason", "answer"}
    assert redactor.FIXED | redactor.TERMS | text >= KEYS
    assert not text & (redactor.FIXED | redactor.TERMS)
