"""Items: reading a document, and refusing one that breaks the format."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitmill.core import item_reader
from gitmill.core.document import Document
from gitmill.core.ids import Kind
from gitmill.core.item import KEYS, Risk, as_json, frozen_hash, is_command
from gitmill.core.item_reader import read_item, value_of
from gitmill.core.item_schema import validated
from gitmill.core.lease import Lease
from gitmill.core.lifecycle import FINAL, Status
from gitmill.errors import BadDocumentError
from tests.support.items import FIELDS, LEASE, document, item

OID = "ab" * 20
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

TYPED = """\
---
# a person wrote this
id: t-k3f9x
kind: task
title: 1.10
status: ready
stage: on
event: 0077
created: 2026-01-02T03:04:05Z
since: 2026-01-02T03:04:05Z
priority: 1
risk: high
after: t-aaaaa
paths:
  - src/    # only there
  - 1e3
labels: [007, no, "x"]
criteria:
  - $ make test
  - it is fast
script: |
  echo 1
  # done
parent: ~
reason:
assignee: Ada
---
Text.
"""


def test_a_document_that_a_person_wrote():
    read = read_item(Document(TYPED, "tasks/k3/t-k3f9x.md"))
    assert {
        k: v for k, v in vars(read).items() if k in read.document.fields and v
    } | read.extra == {
        "id": "t-k3f9x",
        "kind": Kind.TASK,
        "title": "1.10",
        "status": Status.READY,
        "stage": "on",
        "event": "0077",
        "created": START,
        "since": START,
        "priority": 1,
        "risk": Risk.HIGH,
        "after": ("t-aaaaa",),
        "paths": ("src/", "1e3"),
        "labels": ("007", "no", "x"),
        "criteria": ("$ make test", "it is fast"),
        "script": "echo 1\n# done\n",
        "assignee": "Ada",
    }
    assert read.document.text == TYPED
    assert (read.commands, read.prose) == (("make test",), ("it is fast",))
    assert (read.count("build"), read.is_final) == (0, False)


def test_all_fields_that_we_write():
    fields = {
        "stage": "review", "by": "Ada <ada@example.com>", "priority": 0, "risk": "low",
        "after": ["t-aaaaa", "g-bbbbb"], "paths": ["/src/"], "labels": ["x"],
        "criteria": ["$ true"], "script": "a\nb\n", "parent": "p-ccccc", "source": "inbox/a.md",
        "plan": "0" * 12, "frozen": "f" * 16,
            "lease": LEASE | {"host": "h", "boot": "b", "pidns": "n", "pid": 7, "started": "s"},
        "counters": {"build": 2, "returns": 1}, "attempt": 3, "builder": "shell", "base": OID,
        "work": "c" * 64,
            "reviewed": [{"commit": OID, "patch": "p", "by": "rules", "run": 2, "stage": "review"}],
        "feedback": "runs/k3/t-k3f9x/002-review.md", "bare": True,
        "landing": {"candidate": OID, "onto": OID, "target": "refs/heads/main"}, "landed": OID,
        "reason": "why", "answer": "so", "cancel_requested": True,
    }  # fmt: skip
    read = item(status="running", **fields)
    told = {k: v for k, v in as_json(read).items() if k in read.document.fields}
    assert told == FIELDS | fields | {
        "status": "running",
        "created": "2026-01-02T03:04:05.678000Z",
    }
    assert read.count("returns") == 1
    assert read.lease.claim == "c1"


def test_the_time_of_an_unknown_key_is_json_too():
    typed = TYPED.replace("assignee: Ada", "due: 2026-01-02T03:04:05Z")
    read = read_item(Document(typed))
    assert as_json(read)["due"] == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("fields", "line", "said"),
    [
        ({"title": None}, 1, "the key title is missing"),
        ({"id": None}, 1, "the key id is missing"),
        ({"since": None}, 1, "the key since is missing"),
        ({"id": "t-k3f9"}, 2, 'id must be a letter and five or more characters, such as t-k3f9x, '
                              'not "t-k3f9"'),
        ({"id": "t-k3f9x\n"}, 2, 'id must be a letter and five or more characters, such as '
                                 't-k3f9x, not "t-k3f9x\\n"'),
        ({"kind": "goal"}, 3, "kind must be task, as in its id, not goal"),
        ({"kind": "bug"}, 3, 'kind must be one of analysis, goal, design, plan, task, not "bug"'),
        ({"title": ""}, 4, 'title must be one line of text, at most 300 characters, not ""'),
        ({"title": "a\nb"}, 4, 'title must be one line of text, at most 300 characters, '
                               'not "a\\nb"'),
        ({"title": "a\u2028b"}, 4, 'title must be one line of text, at most 300 characters, '
                                   r'not "a\u2028b"'),
        ({"title": "x" * 301}, 4, "title must be one line of text, at most 300 characters, "
                                  f'not "{"x" * 78}…'),
        ({"status": "open"}, 5, "status must be one of draft, ready, running, waiting, blocked, "
                                'approved, queued, landing, landed, done, cancelled, not "open"'),
        ({"created": "yesterday"}, 7, 'created must be a time such as 2026-01-02T03:04:05Z, '
                                      'not "yesterday"'),
        ({"since": "2026-01-02"}, 8, 'since must be a time such as 2026-01-02T03:04:05Z, '
                                     'not "2026-01-02"'),
        ({"since": "2026-01-02T03:04:05"}, 8, 'since must be a time such as 2026-01-02T03:04:05Z, '
                                              'not "2026-01-02T03:04:05"'),
        ({"priority": 5}, 9, "priority must be a whole number from 0 (first) to 4, not 5"),
        ({"priority": True}, 9, "priority must be a whole number from 0 (first) to 4, not true"),
        ({"priority": "urgent"}, 9, "priority must be a whole number from 0 (first) to 4, "
                                    'not "urgent"'),
        ({"risk": "none"}, 9, 'risk must be low, medium or high, not "none"'),
        ({"after": "none"}, 9, 'after must be a list of ids such as t-k3f9x, not "none"'),
        ({"after": ["t-aaaaa", "../b"]}, 9, 'after must be a list of ids such as t-k3f9x, '
                                            'not "../b"'),
        ({"after": {"t-aaaaa": 1}}, 9, 'after must be a list of ids such as t-k3f9x, '
                                       'not {"t-aaaaa": "1"}'),
        ({"counters": {"build": -1}}, 9, "counters: value error, a counter must be 0 to 1000"),
        ({"counters": {"build": 1001}}, 9, "counters: value error, a counter must be 0 to 1000"),
        ({"attempt": -1}, 9, "attempt: input should be greater than or equal to 0"),
        ({"work": "abc"}, 9, "work: string should match pattern "
                             "'^([0-9a-f]{40}([0-9a-f]{24})?)?$'"),
        ({"lease": {"claim": "c", "who": "w"}}, 9, "the key lease.until is missing"),
        ({"lease": LEASE | {"until": "2026-01-02T03:04:05"}}, 9,
         "lease.until: input should have timezone info"),
        ({"lease": "c1"}, 9, "lease: input should be a valid dictionary"),
        ({"title": "\ud800"}, 4, 'title must be one line of text, at most 300 characters, '
                                 r'not "\ud800"'),
    ],
)  # fmt: skip
def test_an_error_names_file_line_key_and_expected_value(fields, line, said):
    broken = document(**fields)
    with pytest.raises(BadDocumentError) as refused:
        read_item(broken)
    assert refused.value.message == f"tasks/k3/t-k3f9x.md:{line}: {said}"
    assert refused.value.evidence == (f"{line} | {broken.text.splitlines()[line - 1]}",)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "expected front matter between two lines `---`"),
        ("# A heading\n", 1, "expected front matter between two lines `---`"),
        (TYPED.replace("kind: task\n", "kind: task\n<<<<<<< ours\n"), 5, "expected `key: value`"),
        (TYPED.replace("priority: 1\n", "id: t-aaaaa\n"), 11, "duplicate key id"),
        (TYPED.replace("priority: 1", "priority: [1"), 11,
         "priority: expected ',' or ']', but got '<stream end>'"),
        (TYPED.replace("assignee: Ada", "deadline: 2026-99-99"), 26, "deadline: not YAML"),
        (TYPED.replace("labels: [007", "labels: &a [*a"), 17,
         "labels: found unconstructable recursive node"),
        (TYPED.replace("priority: 1", "priority: &a [*a]"), 11,
         "priority must be a whole number from 0 (first) to 4, not that"),
        (TYPED.replace("priority: 1", "priority: 2026-01-02"), 11,
         "priority must be a whole number from 0 (first) to 4, not 2026-01-02"),
    ],
)  # fmt: skip
def test_a_document_that_is_not_an_item_is_reported(text, line, said):
    with pytest.raises(BadDocumentError) as refused:
        read_item(Document(text, "tasks/k3/t-k3f9x.md"))
    assert refused.value.message == f"tasks/k3/t-k3f9x.md:{line}: {said}"


VALUES = {
    "id": ["t-k3f9x", "g-bbbbb", "t-1", 7, None],
    "kind": ["task", "goal", "bug", 1],
    "title": ["A title", "", "a\nb", "\ud800", "x" * 301, 1.1, "\u2028"],
    "status": ["ready", "landed", "open", True],
    "since": [
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05.678Z",
        "2026-01-02",
        5,
        "2026-01-02T03:04:05+02:00",
        "2026-13-02T03:04:05Z",
        "2026-01-02 03:04:05Z",
    ],
    "risk": ["low", "none", 1],
    "priority": [0, 4, 5, True, "1", 1.0],
    "after": [["t-aaaaa"], "t-aaaaa", ["x"], [1], []],
    "paths": [["a"], "a", [1], {"a": 1}],
    "criteria": [["$ true", "é"], ["\udc80"], "x"],
    "script": ["a\n", "\udc80", 1, ["a"]],
    "counters": [{"build": 1}, {"build": 1001}, {"build": True}, {"build": "1"}, []],
    "attempt": [0, 3, -1, "2", 1.5, False],
    "work": [OID, "", "ab", "c" * 64],
    "bare": [True, False, "yes", 1],
    "lease": [
        LEASE,
        LEASE | {"pid": "7"},
        LEASE | {"more": 1},
        {"who": "w"},
        "c1",
        LEASE | {"pid": True},
    ],
    "reviewed": [
        [{"commit": OID, "patch": "p", "by": "x", "run": 2, "note": 1}],
        [{}],
        {},
        [{"commit": OID, "patch": "p", "by": "x", "run": "2"}],
    ],
    "landing": [{"candidate": OID, "onto": OID, "target": "t"}, {"candidate": "x"}, []],
    "checked": [[{"name": "test"}], [1], {"name": 1}],
    "cancel_requested": [True, "no", 0],
    "assignee": ["Ada", 1, None, ["x"]],
}


@given(st.fixed_dictionaries({}, optional={k: st.sampled_from(v) for k, v in VALUES.items()}))
def test_the_plain_tier_reads_what_the_schema_reads_or_leaves_it_to_the_schema(fields):
    read = document(**fields)
    values = {k: value_of(read, k) for k in read.fields if value_of(read, k) is not None}
    plain = item_reader._plain(read, values)
    if plain is not None:
        assert plain == validated(read, values)
        assert as_json(plain) == as_json(validated(read, values))


def test_the_plain_tier_knows_every_field():
    assert set(item_reader._READERS) == KEYS


def test_items_written_by_gitmill_need_no_schema():
    code = (
        "import sys; from gitmill.core.document import Document;"
        "from gitmill.core.item_reader import read_item;"
        "read_item(Document(sys.stdin.read(), 'tasks/k3/t-k3f9x.md'));"
        "sys.exit('pydantic' in sys.modules)"
    )
    text = document(lease=LEASE, counters={"build": 1}, paths=["src/"], work=OID, bare=True).text
    subprocess.run([sys.executable, "-c", code], input=text, text=True, check=True)


def test_keys_that_are_names_in_the_code_are_only_fields():
    read = read_item(document(document="mine", commands="mine", self=1, count=2, model_config=3))
    assert read.document.value("document") == "mine"
    assert (read.commands, read.count("x")) == ((), 0)


@given(st.text(), st.text())
def test_a_criterion_is_a_command_or_prose(one, other):
    criteria = [text for text in (f"${one}", one, other, f"$ {other}") if text]
    read = item(criteria=criteria)
    assert len(read.commands) + len(read.prose) == len(criteria)
    assert [c for c in criteria if not is_command(c)] == list(read.prose)
    assert [c.removeprefix("$").strip() for c in criteria if is_command(c)] == list(read.commands)
    assert all(read.commands)


@given(*[st.lists(st.text(), max_size=3), st.text(), st.lists(st.text(), max_size=3)] * 2)
def test_different_frozen_fields_have_different_hashes(one, script, paths, other, script2, paths2):
    same = (one, script, paths) == (other, script2, paths2)
    assert (frozen_hash(one, script, paths) == frozen_hash(other, script2, paths2)) is same


def test_the_frozen_hash_never_changes_between_versions():
    assert frozen_hash(["$ make"], "echo é\n", ["src/"]) == "391ae3dddae5cebe"


@pytest.mark.parametrize("status", Status)
def test_final_is_final(status):
    assert item(status=status.value).is_final is (status in FINAL)


# Leases


@given(
    st.integers(-10, 10),
    st.sampled_from([None, True, False]),
    st.sampled_from([0, 7]),
)
def test_a_lease_ends_with_its_time_or_its_process(seconds, alive, pid):
    lease = Lease(claim="c", who="w", until=START, pid=pid)
    lapsed = lease.lapsed(START + timedelta(seconds=seconds), alive=alive)
    if pid and alive is False:
        assert lapsed  # certainly dead, whatever the time
    elif alive:
        assert not lapsed  # certainly alive: nobody takes it away by the clock
    else:
        assert lapsed is (seconds > 0)
