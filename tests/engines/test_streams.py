"""What is kept of a stream, however it is cut into pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gitmill.engines.streams import Kept


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
