"""Trailers: an event survives the round trip, and no value can forge one."""

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from gitmill.core.trailers import EventRecord, format_message, one_line, parse_message

FORGED = st.sampled_from([
    "\nGitmill-Event: landed", "\n\nGitmill-Id: forged", "\r\nGitmill-By: root",
    "\u2028Gitmill-To: done", "\x85Gitmill-Claim: c1", "\x0bGitmill-Item: t-aaaaa",
    "\x1cGitmill-Item: t-aaaaa", "\x9b31m", "\x1b[2J",
])  # fmt: skip
texts = st.lists(st.text() | FORGED, max_size=3).map("".join)
ATTRIBUTES = [field.name for field in fields(EventRecord) if field.name != "extra"]
NAMES = st.text("ABCDEFGHIJ", min_size=3, max_size=6).map(lambda name: f"X{name}")
named = texts.filter(one_line)
records = st.builds(
    EventRecord,
    **dict.fromkeys(ATTRIBUTES, texts) | {"event": named, "id": named},
    extra=st.dictionaries(NAMES, texts, max_size=3),
)


def test_a_message_is_a_subject_and_trailers():
    record = EventRecord(
        event="landed", id="e2", item="t-k3f9x", after="e1", status_before="landing", to="landed",
        stage="review", by="Ada <ada@example.com>", claim="c1", plan="0123456789ab",
        evidence="ab" * 20, extra={"Candidate": "cd" * 20, "Onto": "ef" * 20},
    )  # fmt: skip
    message = format_message("t-k3f9x: landed", record)
    assert message == (
        "t-k3f9x: landed\n"
        "\n"
        "Gitmill-Item: t-k3f9x\n"
        "Gitmill-Event: landed\n"
        "Gitmill-Id: e2\n"
        "Gitmill-After: e1\n"
        "Gitmill-From: landing\n"
        "Gitmill-To: landed\n"
        "Gitmill-Stage: review\n"
        "Gitmill-By: Ada <ada@example.com>\n"
        "Gitmill-Claim: c1\n"
        "Gitmill-Plan: 0123456789ab\n"
        f"Gitmill-Evidence: {'ab' * 20}\n"
        f"Gitmill-Candidate: {'cd' * 20}\n"
        f"Gitmill-Onto: {'ef' * 20}\n"
    )
    assert parse_message(message) == ("t-k3f9x: landed", record)


def test_empty_values_are_omitted():
    record = EventRecord(event="paused", id="e1")
    assert format_message("paused", record) == "paused\n\nGitmill-Event: paused\nGitmill-Id: e1\n"


@given(texts, records)
def test_an_event_survives_whatever_its_values_hold(subject, record):
    message = format_message(subject, record)
    shown, read = parse_message(message)
    assert shown == one_line(subject, 100)
    assert {name: getattr(read, name) for name in ATTRIBUTES} == {
        name: one_line(getattr(record, name)) for name in ATTRIBUTES
    }
    assert read.extra == {key: one_line(value) for key, value in record.extra.items()}


@given(texts, records)
def test_no_value_makes_a_line_of_its_own(subject, record):
    lines = format_message(subject, record).splitlines()
    told = sum(bool(getattr(record, name)) for name in ATTRIBUTES)
    assert len(lines) == 2 + told + len(record.extra)
    assert [line.split(": ")[0] for line in lines[2:]].count("Gitmill-Event") == 1


@given(texts, st.integers(1, 300))
def test_one_line_is_one_line_within_its_limit(text, limit):
    line = one_line(text, limit)
    assert len(line) <= limit
    assert len(f"{line}x".splitlines()) == 1
    assert not set(line) & {chr(n) for n in [*range(32), *range(0x7F, 0xA0)]}
    assert line == one_line(line, limit)
    if text.isprintable() and len(text.strip()) <= limit:
        assert line == text.strip()


def test_a_long_line_is_marked_as_cut():
    assert one_line("word " * 50, 10) == "word word…"


def test_messages_of_people_are_no_events():
    assert parse_message("Fix a typo\n") == ("Fix a typo", None)
    assert parse_message("") == ("", None)
    quoted = "Quote\n\nGitmill-Event: landed\nGitmill-Id: e1\n\nSigned-off-by: Ada\n"
    assert parse_message(quoted) == ("Quote", None)
    assert parse_message("x\n\nGitmill-Event: landed\n")[1] is None
    assert parse_message("x\n\n Gitmill-Event: landed\n Gitmill-Id: e\n")[1] is None


def test_other_trailers_beside_ours_do_no_harm():
    message = "x\n\nGitmill-Event: edited\nSigned-off-by: Ada\nGitmill-Id: e1\nGitmill-Later: 1\n"
    record = EventRecord(event="edited", id="e1", extra={"Later": "1"})
    assert parse_message(message) == ("x", record)
