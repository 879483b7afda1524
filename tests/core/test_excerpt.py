"""An excerpt keeps the relevant lines of a long output in order and marks omissions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gitmill.core.excerpt import cut, excerpt


def test_a_short_output_is_all_kept():
    assert excerpt("a\nb\n") == "a\nb"


def test_the_first_failure_and_the_end_are_kept():
    lines = [f"line {n}" for n in range(500)]
    lines[100] = "E   assert 1 == 2"
    assert excerpt("\n".join(lines), lines=20) == "\n".join(
        ["[98 lines left out]", *lines[98:103], "[387 lines left out]", *lines[490:]]
    )


def test_an_endless_line_is_cut():
    assert excerpt("x" * 500) == "x" * 400 + " [100 more]"


@given(st.lists(st.sampled_from(["error: a", "fine", "", "assert x"]), max_size=200))
def test_an_excerpt_is_bounded_and_counts_omitted_lines(lines):
    shown = excerpt("\n".join(lines), lines=20).splitlines()
    gaps = [int(line[1:].split()[0]) for line in shown if line.endswith("lines left out]")]
    whole = "\n".join(lines).rstrip().splitlines()
    assert len(shown) - len(gaps) + sum(gaps) == len(whole)
    assert len(shown) - len(gaps) <= 20


def test_a_cut_states_how_much_is_missing():
    assert cut("abcdef", 4, where="look there") == (
        "abcd\n[2 more characters were cut; look there]"
    )
    assert cut("abcd", 4) == "abcd"
