"""The board: urgent items first, on one line each, whatever their texts contain."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitmill.core.board import SHOWN, Row, age, build_board, from_json, markdown, to_json
from gitmill.core.lifecycle import FINAL, Status
from tests.support.items import LEASE, by_id, item

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def at(hour, day=2):
    return f"2026-01-{day:02}T{hour:02}:00:00Z"


ITEMS = by_id(
    item("t-aaaaa", status="ready", since=at(3)),
    item("t-bbbbb", status="ready", since=at(2)),
    item("t-ccccc", status="running", stage="build", lease=LEASE),
    item("t-ddddd", status="waiting", stage="approve", reason="it needs\na person's approval"),
    item("t-eeeee", status="queued", created=at(2)),
    item("t-fffff", status="queued", created=at(1)),
    item("t-ggggg", status="landed", since=at(1), title="Earlier"),
    item("t-hhhhh", status="landed", since="2026-01-03T01:00:00+02:00"),
    item("t-jjjjj", status="landed", since=at(23, day=1)),
    item("t-kkkkk", status="cancelled"),
)


def test_open_items_come_in_the_order_of_attention():
    board = build_board(ITEMS, paused="lunch")
    assert [(row.id, row.who) for row in board.rows] == [
        ("t-ccccc", "shell@host"),
        ("t-ddddd", "for you"),
        ("t-fffff", "next"),
        ("t-eeeee", "number 2"),
        ("t-bbbbb", ""),
        ("t-aaaaa", ""),
    ]
    assert board.counts == {
        Status.READY: 2, Status.RUNNING: 1, Status.WAITING: 1, Status.QUEUED: 2,
        Status.LANDED: 3, Status.CANCELLED: 1,
    }  # fmt: skip
    assert (board.paused, board.queue_paused) == ("lunch", "")
    assert board.rows[1] == Row(
        Status.WAITING, "t-ddddd", "approve", "Fix the parser", "for you",
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "it needs\na person's approval",
    )  # fmt: skip


def test_landed_items_are_newest_first_and_counted_by_day():
    board = build_board(ITEMS)
    assert [row.id for row in board.landed] == ["t-hhhhh", "t-ggggg", "t-jjjjj"]
    assert board.landed_today(NOW) == 2
    assert board.landed_today(NOW.astimezone().replace(day=1)) == 1
    assert board.landed_today(NOW + timedelta(days=1)) == 0
    many = [item(f"t-{n:05}", status="landed", since=at(n)) for n in range(12)]
    board = build_board(by_id(*many))
    assert [row.id for row in board.landed] == [f"t-{n:05}" for n in range(11, 1, -1)]
    assert board.landed_today(NOW) == 12


@pytest.mark.parametrize("status", Status)
def test_every_status_is_on_the_board_or_final(status):
    board = build_board(by_id(item(status=status.value)))
    assert len(board.rows) == (status not in FINAL)
    assert (status in SHOWN) is (status not in FINAL)
    assert len(board.landed) == (status is Status.LANDED)
    assert board.counts == {status: 1}


def test_the_board_of_the_branch():
    assert markdown(build_board(ITEMS, paused="lunch", queue_paused="red | dead")) == (
        "# gitmill board\n"
        "\n"
        "2 ready · 1 running · 1 waiting · 2 queued · 3 landed · 1 cancelled\n"
        "\n"
        "**Paused:** lunch\n"
        "\n"
        "**Queue paused:** red \\| dead\n"
        "\n"
        "## Open\n"
        "\n"
        "| item | status | stage | title | |\n"
        "|---|---|---|---|---|\n"
        "| t-ccccc | running | build | Fix the parser |  |\n"
        "| t-ddddd | waiting | approve | Fix the parser | it needs a person's approval |\n"
        "| t-fffff | queued |  | Fix the parser |  |\n"
        "| t-eeeee | queued |  | Fix the parser |  |\n"
        "| t-bbbbb | ready |  | Fix the parser |  |\n"
        "| t-aaaaa | ready |  | Fix the parser |  |\n"
        "\n"
        "## Landed\n"
        "\n"
        "| item | status | stage | title | |\n"
        "|---|---|---|---|---|\n"
        "| t-hhhhh | landed |  | Fix the parser |  |\n"
        "| t-ggggg | landed |  | Earlier |  |\n"
        "| t-jjjjj | landed |  | Fix the parser |  |\n"
        "\n"
        "Written by gitmill; `git log` on this branch is the history of each item.\n"
    )
    assert "nothing yet" in markdown(build_board({}))


@given(st.text(min_size=1), st.text(), st.text("|<\\\r\n\u2028\x85 x", max_size=6))
def test_no_text_breaks_out_of_its_cell(title, reason, stage):
    title = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", "", title).split()) or "x"
    one = item(status="blocked", title=title, reason=reason or None, stage=stage or None)
    lines = markdown(build_board(by_id(one), paused=reason)).splitlines()
    (row,) = [line for line in lines if line.startswith("| t-k3f9x")]
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 6
    assert "<" not in row
    assert lines.count("| item | status | stage | title | |") == 1


def test_a_target_that_keeps_moving_is_on_the_board_with_the_figures():
    reason = "main moved 0.8 s after the landing began; its checks take at least 12 s"
    lost = {"status": "queued", "counters": {"moved": 3}, "reason": reason}
    board = build_board(by_id(item("t-aaaaa", **lost), item("t-bbbbb", status="queued")))
    assert board.moving == (
        f"t-aaaaa lost 3 landings; at the last one {reason}; make its checks quicker, "
        "or let the target rest and `gitmill queue land t-aaaaa`"
    )
    for other in ({"counters": {"moved": 2}}, {"status": "approved"}):
        assert build_board(by_id(item("t-aaaaa", **lost | other))).moving == ""


def test_a_kept_board_is_the_same_board():
    board = build_board(ITEMS, paused="lunch")
    assert from_json(json.loads(json.dumps(to_json(board)))) == board


@pytest.mark.parametrize("broken", [{}, {"counts": []}, {"counts": {"open": 1}}])
def test_an_invalid_stored_board_is_refused(broken):
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        from_json(broken)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0s"), (0, "0s"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"),
     (86399, "23h"), (86400, "1d"), (400 * 86400, "400d")],
)  # fmt: skip
def test_age_is_short(seconds, shown):
    assert age(NOW - timedelta(seconds=seconds), NOW) == shown
