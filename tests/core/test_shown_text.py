"""Text for others to see: nothing invisible, and no live link or image on a rendered page."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gitmill.core.shown_text import in_markdown, in_message, visible

PIECES = [
    "[", "]", "(", ")", "!", "<", ">", "\\", "`", "&", ":", "//", "http", "https://", "www.", "@",
    "#1", "a", "\n", " ", "img src=x", "[a]: b", "mailto:", "&#91;", "'", '"', "*", "_", "|",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


@given(TEXTS)
@example("![](https://evil.example/x.png)")
@example("[a](https://evil.example) <img src=x> <https://evil.example>")
@example("[a]\n\n[a]: https://evil.example")
@example("\\![a](b) \\\\[a](b)")
def test_a_rendered_text_has_no_link_no_image_and_no_html(text: str):
    html = MarkdownIt("commonmark").render(in_markdown(text))
    assert not re.search(r"<(a|img|script|iframe)\b", html), html
    assert "://" not in in_markdown(text)
    assert not re.search(r"\bwww\.", in_markdown(text))


@given(st.text(alphabet=st.characters(exclude_characters="\r"), max_size=30))
def test_a_rendered_text_reads_as_it_was(text: str):
    """One paragraph of plain words is the same after rendering, apart from white space."""
    words = " ".join(re.findall(r"[^\W_]+", visible(text)))
    assert MarkdownIt("commonmark").renderInline(in_markdown(words)) == words


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("abc\u202edcba", "abcdcba"),  # reads from right to left from here
        ("pass\u200bword", "password"),
        ("\u2066x\u2069", "x"),
        ("soft\u00adhyphen", "softhyphen"),
        ("tag\U000e0041\U000e0042", "tag"),  # what a model reads and a person does not
        ("\ufeffbom", "bom"),
        ("a\x1b[31mb\x00", "a[31mb"),
        ("private\ue000use", "privateuse"),
        ("a\u200db", "ab"),
        ("\U0001f469\u200d\U0001f4bb", "\U0001f469\u200d\U0001f4bb"),  # a woman with a computer
        ("\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",) * 2,  # Persian
        ("שלום, مرحبا, 世界, Zoë — ok\n\ttab",) * 2,
    ],
)
def test_what_nobody_sees_is_removed_and_the_rest_stays(text: str, seen: str):
    assert visible(text) == seen


@given(st.text(max_size=50))
def test_nothing_invisible_is_left(text: str):
    kept = visible(text)
    hidden = [c for c in kept if unicodedata.category(c) in ("Cf", "Cc", "Co", "Cn")]
    assert set(hidden) <= set("\n\t\u200c\u200d")
    assert visible(kept) == kept


def test_a_message_names_no_address_person_or_issue():
    text = "See https://evil.example and www.evil.example, @bob: fixes #12, GH-7, x@y, a#b, C#"
    assert in_message(text) == (
        "See https[:]//evil.example and www[.]evil.example, @bob: fixes #12, GH-7, x@y, a#b, C#"
    )
    assert in_message(text, calls=False) == (
        "See https[:]//evil.example and www[.]evil.example, @ bob: fixes # 12, GH- 7, x@y, a#b, C#"
    )
