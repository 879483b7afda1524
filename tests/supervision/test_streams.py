"""The kept part of a stream does not depend on how the stream is cut into pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gitmill.supervision.streams import Kept, Watched


@given(pieces=st.lists(st.binary(max_size=30), max_size=20), half=st.integers(0, 20))
def test_the_first_and_the_last_bytes_are_kept_and_all_are_counted(pieces, half):
    kept = Kept(half)
    for piece in pieces:
        kept.add(piece)
    whole = b"".join(pieces)
    assert kept.cut == max(0, len(whole) - 2 * half)
    if not kept.cut:
        assert kept.value() == whole
    else:
        gap = b"\n[%d bytes cut]\n" % kept.cut
        assert kept.value() == whole[:half] + gap + whole[len(whole) - half :]


@given(
    lines=st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), max_size=8),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=9),
    rest=st.binary(max_size=20),
)
def test_a_watch_sees_each_line_once_however_the_stream_is_cut(lines, cuts, rest):
    seen: list[bytes] = []

    def watch(line: bytes) -> str:
        seen.append(line)
        return ""

    def pieces(data: bytes):
        at = turn = 0
        while at < len(data):
            size = cuts[turn % len(cuts)]
            yield data[at : at + size]
            at, turn = at + size, turn + 1

    sent = b"".join(line + b"\n" for line in lines) + b"last"
    raw = b"".join(len(p).to_bytes(4, "big") + p for p in pieces(sent)) + bytes(4) + rest
    watched = Watched(watch)
    assert b"".join(watched.take(piece) for piece in pieces(raw)) == rest
    assert seen == [*lines, b"last"]


def test_a_watch_that_has_had_enough_sees_no_more_and_endless_lines_are_dropped():
    seen: list[bytes] = []

    def watch(line: bytes) -> str:
        seen.append(line)
        return "enough" if line == b"b" else ""

    watched = Watched(watch, longest=8)
    for data in (b"x" * 9, b"y" * 99, b"\na\nb\nc\n", b"d\n"):
        watched.take(len(data).to_bytes(4, "big") + data)
    assert (seen, watched.why) == ([b"a", b"b"], "enough")
