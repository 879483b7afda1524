"""Ids: their form, their uniqueness, and the prefix that a user can type."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitmill.core.ids import ALPHABET, PATTERN, Kind, base32, derived_id, kind_of, matches, new_id

kinds = st.sampled_from(Kind)
sixteen = st.binary(min_size=16, max_size=16)


def test_a_kind_has_a_letter_and_a_folder():
    assert {kind: (kind.letter, kind.folder) for kind in Kind} == {
        Kind.ANALYSIS: ("a", "analyses"),
        Kind.GOAL: ("g", "goals"),
        Kind.DESIGN: ("d", "designs"),
        Kind.PLAN: ("p", "plans"),
        Kind.TASK: ("t", "tasks"),
    }
    with pytest.raises(KeyError):
        kind_of("x-k3f9x")


def test_the_alphabet_has_no_letters_that_look_like_others():
    assert set(ALPHABET) == set(string.digits + string.ascii_lowercase) - set("ilou")
    assert base32(bytes(range(256))) == ALPHABET * 8


@given(kinds, sixteen)
def test_an_id_has_the_form_of_its_kind(kind, random):
    made = new_id(kind, random)
    assert PATTERN.fullmatch(made)
    assert len(made) == 7
    assert kind_of(made) is kind


@given(kinds, sixteen, st.integers(0, 11))
def test_an_id_that_is_taken_grows_by_a_character(kind, random, times):
    taken = []
    for _ in range(times):
        taken.append(new_id(kind, random, taken))
    made = new_id(kind, random, taken)
    assert len(made) == 7 + times
    assert made not in taken
    assert all(made.startswith(shorter) for shorter in taken)


def test_without_random_bytes_left_there_is_no_id():
    taken = ["t-00000", "t-000000"]
    with pytest.raises(ValueError, match="not enough random bytes"):
        new_id(Kind.TASK, bytes(6), taken)


def test_an_import_has_the_same_id_everywhere():
    assert derived_id(Kind.TASK, "inbox/parser.md") == "t-zkdjxh5wjz"
    assert derived_id(Kind.GOAL, "inbox/parser.md")[2:] != "zkdjxh5wjz"


@given(kinds, st.text(), st.text())
def test_two_sources_have_two_ids(kind, one, other):
    made = derived_id(kind, one)
    assert PATTERN.fullmatch(made)
    assert (made == derived_id(kind, other)) == (one == other)


@pytest.mark.parametrize(
    "text",
    ["", "t-", "t-k3f9", "k3f9x", "x-k3f9x", "T-k3f9x", "t-K3F9X", "t-k3f9i", "t-k3f9l", "t-k3f9o",
     "t-k3f9u", "t-k3f9x\n", "\nt-k3f9x", "t-k3f9x ", "t-k3/9x", "t-k3f9é", "t-k3f9٣"],
)  # fmt: skip
def test_invalid_ids(text):
    assert not PATTERN.fullmatch(text)


@given(kinds, sixteen, st.data())
def test_each_beginning_of_an_id_is_enough_with_and_without_the_letter(kind, random, data):
    made = new_id(kind, random)
    length = data.draw(st.integers(1, 7))
    assert matches(made, made[:length])
    assert matches(made, made[2:][:length])
    assert not matches(made, made + "0")
    assert not matches(made, made[1:])
