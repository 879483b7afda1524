"""Redaction: records contain no secret value and no key of a known shape."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitmill.core.redaction import MARK, is_redacted, redact

KEYS = [
    "sk-" + "a1B2" * 6,
    "sk-ant-api03-" + "x" * 20,
    "ghp_" + "A" * 36,
    "ghs_" + "A" * 36,
    "github_pat_" + "A1_" * 20,
    "AKIA" + "Z" * 16,
    "xoxb-" + "1" * 12,
    "AIza" + "k" * 35,
    "eyJ" + "h" * 10 + "." + "p" * 10 + "." + "s" * 6,
    "-----BEGIN PRIVATE KEY-----\nabc\ndef\n-----END PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----",
]
texts = st.text("abc \n.é", max_size=20)
secrets = st.lists(st.text("XYZ0", min_size=1, max_size=8), max_size=4)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_announces_itself(key):
    assert redact(f"a {key}\nb", []) == f"a {MARK}\nb"
    assert redact(f'"{key}"', []) == f'"{MARK}"'


def test_a_private_key_that_was_cut_off():
    assert redact("x\n-----BEGIN EC PRIVATE KEY-----\nabc\n…", []) == f"x\n{MARK}"


@pytest.mark.parametrize(
    "text", ["sk-short", "task-k3f9x", "AKIA", "eyJ.a.b", "-----BEGIN CERTIFICATE-----", "0" * 40]
)
def test_texts_that_are_not_keys(text):
    assert redact(text, []) == text


@given(
    st.lists(texts | st.sampled_from(KEYS), max_size=4),
    secrets,
    st.sampled_from([" ", "\n", "_", "=", '"', "/"]),
    st.data(),
)
def test_no_known_secret_is_left(parts, known, between, data):
    for secret in known:
        parts.insert(data.draw(st.integers(0, len(parts))), secret)
    text = between.join(parts)
    cut = redact(text, known)
    assert not any(secret in cut for secret in known)
    assert not any(key in cut for key in KEYS)
    assert redact(cut, known) == cut


def test_the_longer_of_two_secrets_is_redacted_whole():
    assert redact("password1234", ["password", "password1234"]) == MARK


def test_an_empty_value_is_no_secret():
    assert redact("abc", ["", "b"]) == f"a{MARK}c"


@given(st.lists(texts, min_size=2, max_size=4), st.text("XYZ", min_size=1, max_size=5))
def test_a_redacted_text_is_recognized_as_the_text_that_it_was(parts, secret):
    assert is_redacted(MARK.join(parts), secret.join(parts))
    assert not is_redacted(MARK.join(parts) + "more", secret.join(parts))
    assert not is_redacted("", secret.join(parts))
