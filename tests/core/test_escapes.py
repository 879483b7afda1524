"""A text is read again without its escapes, and each part of that has its place in the text."""

from __future__ import annotations

import base64
import html
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitmill.core.escapes import readings
from gitmill.core.redaction import find_secrets, redact

KEY = "ghp" + "_" + "aB3" * 12
ANSI, OFF = "\x1b[1;31m", "\x1b[0m"
BASE64 = base64.b64encode(f"token: {KEY}\n".encode()).decode()
WRITTEN = {
    "in JSON": f'{{"a": "x\\n{KEY}\\n"}}',
    "in JSON in JSON in JSON": json.dumps(json.dumps(json.dumps(f"x\n{KEY}\ny"))),
    "with \\u": f"\\u0022x\\u003e\\u0078{KEY}".replace("\\u0078", "\\u000a"),
    "with each sign as \\u": "".join(f"\\u{ord(sign):04x}" for sign in KEY),
    "with each sign as \\x": "".join(f"\\x{ord(sign):02x}" for sign in KEY),
    "behind a colour": f"{ANSI}{KEY}{OFF}",
    "with a colour inside": f"a {KEY[:9]}{ANSI}{KEY[9:]}{OFF}",
    "behind a colour in JSON": json.dumps(f"{ANSI}{KEY}{OFF}"),
    "behind a colour in a program": f"echo -e '\\e[32m{KEY}' '\\033[32m{KEY}' '\\x1b[32m{KEY}'",
    "in a link of a terminal": f"\x1b]8;;http://a.b\x1b\\{KEY}\x1b]8;;\x1b\\",
    "behind a title in JSON": json.dumps(f"\x1b]0;title\x07{KEY}"),
    "in a URL": quote(f"a\n{KEY}"),
    "in a URL in a URL": quote(quote(f"a\n{KEY}")),
    "with each sign in a URL": "".join(f"%{ord(sign):02X}" for sign in KEY),
    "in HTML": f"a&#10;{KEY}&lt;",
    "in HTML in HTML": html.escape(html.escape(f"<i>&euro;{KEY}")).replace("&lt;i", f"&euro;{KEY}"),
    "in base64": f"a: {BASE64}",
    "in base64 without its padding": f"a: {BASE64.rstrip('=')}",
    "in base64 in base64": base64.b64encode(f"a: {BASE64}".encode()).decode(),
    "in base64 of JSON": base64.b64encode(f'["a\\n{KEY}"]'.encode()).decode(),
    "in lines of base64": base64.encodebytes(f"{'many words ' * 20}{KEY} more".encode()).decode(),
    "on two lines": f"a = '{KEY[:20]}\\\n    {KEY[20:]}'",
}  # fmt: skip


@pytest.mark.parametrize("how", WRITTEN)
def test_a_key_in_any_escape_is_one_secret(how: str):
    text = f"before\n{WRITTEN[how]}\nafter"
    assert {(secret.value, secret.what) for secret in find_secrets(text)} == {(KEY, "github token")}
    cut = redact(text, [])
    assert find_secrets(cut) == []
    assert cut.startswith("before\n")
    assert cut.endswith("\nafter")


def test_what_is_redacted_in_json_leaves_json():
    text = json.dumps({"a": f"one\n{KEY}\ttwo", "b": json.dumps(f"{ANSI}{KEY}{OFF}é")})
    assert json.loads(redact(text, [])) == {
        "a": "one\n[redacted]\ttwo",
        "b": json.dumps(f"{ANSI}[redacted]{OFF}é"),
    }


def test_a_value_of_the_environment_is_found_within_an_escape():
    for value in ("open sesame 77", 'quo"ted/77'):
        for text in (json.dumps(json.dumps(value)), f"x{value[:5]}{ANSI}{value[5:]}",
                     base64.b64encode(f"Basic user:{value}".encode()).decode()):  # fmt: skip
            assert {secret.value for secret in find_secrets(text, [value])} == {value}
            assert find_secrets(redact(text, [value]), [value]) == []


@pytest.mark.parametrize(
    "text",
    [
        r"C:\new\tools\readme.txt %d%% of %5d &nbsp; \d+\s*\w{20,}",
        "sha512-" + base64.b64encode(bytes(range(192, 256))).decode(),
        "%ff%fe%80 \\ud800 \\u{110000} &#x110000; \\xzz \\",
        "https://example.com/a%20b?c=%C3%A9&amp;d=1",
        "gh%70%5F" + "a" * 10,
        "aGVsbG8gd29ybGQsIHRoaXMgaXMgcGxhaW4=",
    ],
)
def test_an_escape_alone_is_no_secret(text: str):
    assert find_secrets(text) == []
    assert redact(text, []) == text


def test_a_word_of_one_part_does_not_join_another():
    """Only lines with escapes are read again; between them others are left out."""
    text = f"\\n{KEY[:20]}\n" + "plain words\n" * 40 + f"{KEY[20:]}\\n\n"
    assert find_secrets(text) == []


@given(st.text("aZ09\\/n%2u&;lt\n =\x1b[m]" + "\x07\"'", max_size=60), st.data())
def test_each_part_of_a_reading_has_its_place(text: str, data: st.DataObject):
    for reading in readings(text):
        if not reading.text:
            continue
        start = data.draw(st.integers(0, len(reading.text) - 1))
        end = data.draw(st.integers(start + 1, len(reading.text)))
        first, last = reading.span(start, end)
        assert 0 <= first <= last <= len(text)
        assert find_secrets(text) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "\\" * 300_000 + "z", "\\n" * 100_000, "%25" * 60_000, "&amp;" * 60_000, "\x1b]" * 100_000,
        "\\e]" * 100_000, "-----BEGIN PRIVATE KEY-----\\n" * 5_000, "\\\n" * 60_000,
        base64.b64encode(b"hello world " * 20_000).decode(),
        base64.b64encode(" ".join(f"ghp_{n:036d}" for n in range(3_000)).encode()).decode(),
        "-----END PRIVATE KEY-----" * 5_000, "A" * 200_000 + "-----END PRIVATE KEY-----" * 500,
    ],
)  # fmt: skip
def test_a_text_made_to_be_slow_is_read_in_linear_time(text: str):
    began = time.process_time()
    find_secrets(text)
    assert time.process_time() - began < 4
