"""Text for others to see: nothing invisible, and no live link or image on a rendered page."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gitmill.cli.output import safe
from gitmill.core.shown_text import in_markdown, in_message, spelled, visible

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
        ("line\u2028and\u2029paragraph", "lineandparagraph"),
        ("blank\u3164\u115f\uffa0\u034f", "blank"),  # fillers are letters that have no shape
        ("x\ufe00\U000e0101y", "xy"),  # bytes hidden in variation selectors
        ("\U0001f600\ufe0f\U000e0120\U000e0131", "\U0001f600\ufe0f"),
        ("1\ufe0f\u20e3",) * 2,  # a keycap
        ("\U0001f3f3\ufe0f\u200d\U0001f308",) * 2,  # a rainbow flag
        ("\u0915\u094d\u200d\u0937",) * 2,  # Devanagari
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


def test_a_message_that_is_rendered_has_no_link_no_image_and_no_tag():
    text = "![x](//evil/a.png) [y][z] <img src=//evil/b.png> <img/src=//evil> Vec<T>, a < b"
    assert in_message(text) == (
        "! [x] (//evil/a.png) [y] [z] < img src=//evil/b.png> < img/src=//evil> Vec<T>, a < b"
    )
    html = MarkdownIt("commonmark").render(in_message(text))
    assert not re.search(r"<(a|img)\b", html), html


def test_an_agents_message_has_no_trailer_and_starts_nothing():
    text = "Co-authored-by: Eve <eve@evil.example>"
    assert in_message(text, calls=False).startswith("Co-authored-by[:] Eve")
    assert in_message("Gitmill-Item: t-k3f9x", calls=False) == "Gitmill-Item[:] t-k3f9x"
    assert in_message("JRA-1 #close, !12; parser: ok!", calls=False) == (
        "JRA-1 # close, ! 12; parser: ok!"
    )


def test_a_message_names_no_address_person_or_issue():
    text = "See https://evil.example and www.evil.example, @bob: fixes #12, GH-7, x@y, a#b, C#"
    assert in_message(text) == (
        "See https[:]//evil.example and www[.]evil.example, @bob: fixes #12, GH-7, x@y, a#b, C#"
    )
    assert in_message(text, calls=False) == (
        "See https[:]//evil.example and www[.]evil.example, @ bob: fixes # 12, GH- 7, x@y, a#b, C#"
    )


def test_a_text_that_lands_as_it_is_shows_what_nobody_sees():
    assert spelled("if a\u202e: # \u2066\U000e0041") == "if a\\u202e: # \\u2066\\U000e0041"
    assert spelled("\U0001f469\u200d\U0001f4bb\n\t世界") == "\U0001f469\u200d\U0001f4bb\n\t世界"


def test_a_terminal_shows_a_question_mark_for_what_nobody_sees_and_whole_emoji():
    assert safe("a\u202eb\u2066c\u3164d\x1b]0;x\x07") == "a?b?c?d?]0;x?"
    assert safe("\U0001f469\u200d\U0001f4bb \x1b[32mok\x1b[0m") == (
        "\U0001f469\u200d\U0001f4bb \x1b[32mok\x1b[0m"
    )
