"""Documents: preserved to the byte, changed one field at a time, readable by other programs."""

import json
import re
import string

import frontmatter
import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gitmill.core.document import Document, Handler, to_json
from gitmill.errors import BadDocumentError

BREAKS = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # what splits lines for str.splitlines
ODD = "\0\t\x1b\x7f\x9b\ufeff\ufffe\uffff'\"\\#:{}[]-%@`|>&*!?, \U0001f600é"
texts = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("\n" + BREAKS + ODD)))
scalars = st.none() | st.booleans() | st.integers() | texts
scalars |= st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(texts.filter(lambda t: len(t) < 99), inner)
    ),
    max_leaves=8,
)
keys = st.text(string.ascii_lowercase + "_", min_size=1, max_size=6)


def front(*lines, body="", end="\n"):
    return Document(end.join(["---", *lines, "---", body]), "tasks/a.md")


def error_lines(call, *args):
    with pytest.raises(BadDocumentError) as refused:
        call(*args)
    return [refused.value.message, *refused.value.evidence]


# To the byte


@given(st.binary() | texts.map(lambda text: f"---\n{text}\n---\n{text}".encode()))
def test_any_bytes_are_kept(data):
    document = Document.from_bytes(data)
    assert document.to_bytes() == data
    assert document.with_body(document.body).to_bytes() in (data, data + b"\n")


PIECES = st.lists(
    st.sampled_from([
        "a: 1", "a:  'x'   # why", "b:", "  - 1", "- 2", "c: |", "   text", "", "# note", "  # in",
        "d: [1,", "   2]", "]", '"e f": {}', "g: >-", "h i: 1", "---", "...", "nonsense", "\tx: 1",
        "a: 2", "é: 1", "on: yes", "k: \x85", "z: \udcff",
    ]),
    max_size=8,
)  # fmt: skip


@given(PIECES, st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "body", "body\n---\n"]))
def test_fields_that_are_not_set_keep_their_text(lines, end, body):
    document = front(*lines, body=body, end=end)
    assert document.text == end.join(["---", *lines, "---", body])
    try:
        fields = document.fields
        changed = document.set("new", "x")
    except BadDocumentError:
        return
    assert changed.set("new", None).text == document.text
    for key in fields:
        once = document.set(key, [key])
        assert once.value(key) == [key]
        assert once.set(key, [key]).text == once.text
        rest = document.set(key, None)
        assert key not in rest.fields
        ours = fields[key]
        all_lines = document.text.split("\n")
        assert rest.text.split("\n") == all_lines[: ours.start] + all_lines[ours.end :]
        mine = [f"{line}\n" for line in all_lines[ours.start : ours.end]]
        new = once.text.removeprefix("\n".join([*all_lines[: ours.start], ""]))
        assert new.endswith("\n".join(all_lines[ours.end :]))
        assert len(once.text.split("\n")) == len(all_lines) - len(mine) + 1


TASK = front(
    "# what people write",
    "id: t-k3f9x",
    "title: Mend it # soon",
    "",
    "criteria:",
    "  - $ make   # all of it",
    "# between",
    "  - it is fast",
    "paths: [src/,",
    "        docs/]",
    "script: |",
    "  # a comment of the script",
    "",
    "  make",
    "labels:",
    "- one",
    "- two",
    "after: [",
    '  "t-aaaaa"',
    "]",
    "'quoted key': yes",
    '"another\\"": no',
    "two words: 1",
    "note: 'it''s' # here",
    'flow: {"a": 1} # there',
    "empty: # nothing",
    body="\nText\n---\nmore\n",
)


def test_fields_are_found_however_they_are_written():
    assert {key: (f.start, f.end) for key, f in TASK.fields.items()} == {
        "id": (2, 3),
        "title": (3, 4),
        "criteria": (5, 9),
        "paths": (9, 11),
        "script": (11, 15),
        "labels": (15, 18),
        "after": (18, 21),
        "quoted key": (21, 22),
        'another"': (22, 23),
        "two words": (23, 24),
        "note": (24, 25),
        "flow": (25, 26),
        "empty": (26, 27),
    }
    assert {key: TASK.value(key) for key in TASK.fields} == {
        "id": "t-k3f9x",
        "title": "Mend it",
        "criteria": ["$ make", "it is fast"],
        "paths": ["src/", "docs/"],
        "script": "# a comment of the script\n\nmake\n",
        "labels": ["one", "two"],
        "after": ["t-aaaaa"],
        "quoted key": True,
        'another"': False,
        "two words": 1,
        "note": "it's",
        "flow": {"a": 1},
        "empty": None,
    }
    assert TASK.body == "\nText\n---\nmore\n"


@pytest.mark.parametrize(
    ("key", "gone", "new"),
    [
        ("title", ["title: Mend it # soon"], 'title: "x" # soon'),
        ("note", ["note: 'it''s' # here"], 'note: "x" # here'),
        ("flow", ['flow: {"a": 1} # there'], 'flow: "x" # there'),
        ("empty", ["empty: # nothing"], 'empty: "x" # nothing'),
        ("two words", ["two words: 1"], '"two words": "x"'),
        ("labels", ["labels:", "- one", "- two"], 'labels: "x"'),
        ("paths", ["paths: [src/,", "        docs/]"], 'paths: "x"'),
        ("after", ["after: [", '  "t-aaaaa"', "]"], 'after: "x"'),
        (
            "script",
            ["script: |", "  # a comment of the script", "", "  make"],
            'script: "x"',
        ),
    ],
)
def test_setting_a_field_changes_its_lines_and_keeps_the_comment_behind_it(key, gone, new):
    old, block = TASK.text, "\n".join(gone) + "\n"
    assert old.count(block) == 1
    changed = TASK.set(key, "x")
    assert changed.text == old.replace(block, new + "\n")
    assert changed.value(key) == "x"
    assert TASK.set(key, None).text == old.replace(block, "")


def test_a_new_field_goes_to_the_end_of_the_front_matter():
    assert front("a: 1", body="---\n").set("b", [1]).text == "---\na: 1\nb: [1]\n---\n---\n"
    assert Document("---\n---").set("b", 1).text == "---\nb: 1\n---"
    assert front("a: 1").update({"a": None, "b": 2, "c": None}).text == "---\nb: 2\n---\n"


def test_line_ends_stay_as_they_are():
    document = front("a: 1", "b: x", body="x\ny\r\n", end="\r\n")
    assert document.value("b") == "x"
    assert document.set("a", 2).set("c", "z").text == (
        '---\r\na: 2\r\nb: x\r\nc: "z"\r\n---\r\nx\ny\r\n'
    )


def test_a_byte_order_mark_is_no_reason_to_see_no_fields():
    document = Document.from_bytes(b"\xef\xbb\xbf---\na: 1\n---\nx")
    assert document.value("a") == 1
    assert document.set("a", 2).to_bytes() == b"\xef\xbb\xbf---\na: 2\n---\nx"


@pytest.mark.parametrize(
    "text", ["", "x", "--\na: 1\n---\n", "---\na: 1\n", " ---\n---\n", "x\n---\n"]
)
def test_without_front_matter_all_is_body(text):
    document = Document(text, "a.md")
    assert not document.has_front_matter
    assert document.fields == {}
    assert document.body == text
    assert document.with_body("new\n").text == "new\n"
    message, *evidence = error_lines(document.set, "a", 1)
    assert message == "a.md:1: there is no front matter; the first line must be `---`"
    assert evidence == [f"1 | {text.partition(chr(10))[0]}"]


def test_a_body_never_runs_into_the_fence():
    assert Document("---\na: 1\n---").with_body("text\n").text == "---\na: 1\n---\ntext\n"


# Values


@given(texts)
@example(BREAKS + ODD)
def test_a_text_is_on_one_line_for_every_reader(text):
    document = Document.new({"before": 1, "text": text, "after": 2}, "body\n")
    lines = document.text.splitlines()
    assert len(lines) == 6
    assert document.value("text") == document.text_value("text") == text
    found = dict(re.findall(r"^([a-z]+): (.*)$", document.text, re.MULTILINE))
    assert json.loads(found["text"]) == text
    assert yaml.safe_load("\n".join(lines[1:-2]))["text"] == text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", document.text)


@given(st.dictionaries(keys, values, max_size=4))
@example({"cost": 1e-05, "big": 1e22, "text": '1e5 "1e5', "both": [-2.5e-09, {"x": 1e16}]})
def test_written_values_are_json_and_yaml(fields):
    told = {key: value for key, value in fields.items() if value is not None}
    document = Document.new(fields, "x")
    assert {key: document.value(key) for key in document.fields} == told
    if told:
        head = document.text.split("\n---\n")[0].removeprefix("---\n")
        loaded = yaml.safe_load(head)
        assert {str(key): loaded[key] for key in loaded} == {
            _as_yaml(k): v for k, v in told.items()
        }
    for value in told.values():
        assert json.loads(to_json(value)) == value
        assert "\n" not in to_json(value)


def _as_yaml(key):
    return {"no": "False", "off": "False", "on": "True", "yes": "True", "null": "None"}.get(
        key, {"true": "True", "false": "False"}.get(key, key)
    )


def test_non_ascii_stays_readable():
    assert Document.new({"title": "Größe 漢字 😀"}, "").text == '---\ntitle: "Größe 漢字 😀"\n---\n'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_json_lacks_are_not_written(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json([value])


@pytest.mark.parametrize(
    "typed", ["1.10", "on", "007", "1e3", "no", "0x1F", "2026-01-02", "1_000", "=", "1:30"]
)
def test_texts_stay_as_typed(typed):
    document = front(f"a: {typed}", f"b: [{typed}, {typed}]", "c:", f"- {typed}", f"d: '{typed}'")
    assert document.text_value("a") == typed
    assert document.text_value("b") == [typed, typed]
    assert document.text_value("c") == [typed]
    assert document.text_value("d") == typed
    ours = Document.new({"a": typed, "b": [typed]}, "")
    assert (ours.text_value("a"), ours.text_value("b")) == (typed, [typed])
    assert yaml.safe_load(ours.text.split("---")[1]) == {"a": typed, "b": [typed]}


@pytest.mark.parametrize("typed", ["", "~", "null", "# nothing", "~ # nothing", "\n  # nothing"])
def test_nothing_is_nothing_also_for_a_text(typed):
    document = front(f"a: {typed}", "b: x")
    assert document.value("a") is document.text_value("a") is None
    assert document.value("b") == "x"


@pytest.mark.parametrize("typed", ['""', "''", '"" # empty'])
def test_an_empty_text_is_a_text(typed):
    assert front(f"a: {typed}").text_value("a") == ""


def test_a_missing_field_has_the_default():
    document = front("a: 1")
    assert (document.value("b", 3), document.text_value("b", "x")) == (3, "x")
    assert (document.value("b"), document.line_of("b"), document.line_of("a")) == (None, 0, 1)


PEOPLE = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-999, 999), st.sampled_from(["x y", "it's", "a: b"]),
        st.text(st.characters(codec="utf-8", exclude_categories=("C",)), max_size=9),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(
    st.dictionaries(st.text("abcé /.-", min_size=1, max_size=5), PEOPLE, min_size=1, max_size=5),
    st.sampled_from([None, False]),
    st.sampled_from([None, "'", '"', "|", ">"]),
    st.integers(10, 40),
)
def test_all_that_a_yaml_library_writes_is_read_field_by_field(fields, flow, style, width):
    written = yaml.safe_dump(
        fields, default_flow_style=flow, default_style=style, width=width,
        allow_unicode=True, sort_keys=False,
    )  # fmt: skip
    # a flow mapping as the whole, or keys on lines of their own, are no front matter of anybody
    assume(not re.search(r"^\{|^\? |!!", written, re.MULTILINE))
    document = Document(f"---\n{written}---\n")
    assert {key: document.value(key) for key in document.fields} == yaml.safe_load(written)


# Errors


def test_errors_name_file_and_line_and_show_the_line():
    fields = lambda document: document.fields  # noqa: E731  (it is handed over)
    assert error_lines(fields, front("a: 1", "b: 2", "a: 3")) == [
        "tasks/a.md:4: duplicate key a",
        "4 | a: 3",
    ]
    assert error_lines(fields, front("a: 1", "'a': 3"))[0] == "tasks/a.md:3: duplicate key a"
    assert error_lines(fields, front("a: 1", "<<<<<<< ours", "b: 1")) == [
        "tasks/a.md:3: expected `key: value`",
        "3 | <<<<<<< ours",
    ]
    assert error_lines(fields, front("  - a"))[0] == "tasks/a.md:2: expected `key: value`"
    assert error_lines(fields, Document("---\nx\n---\n"))[0] == "document:2: expected `key: value`"


@pytest.mark.parametrize(
    ("lines", "line", "problem"),
    [
        (["a: [1"], 2, "expected ',' or ']', but got '<stream end>'"),
        (["x: 1", "a:", "  - 'b", "  - c"], 5, "found unexpected end of stream"),
        (["a: *b"], 2, "found undefined alias 'b'"),
        (["a: 2026-99-99"], 2, "not YAML"),
        (["a: 0b_"], 2, "not YAML"),
        (["a: !!int x"], 2, "not YAML"),
        (["a: !!bool x"], 2, "not YAML"),
        (["a: !!timestamp x"], 2, "not YAML"),
        (["a: !mine x"], 2, "could not determine a constructor for the tag '!mine'"),
        (["a: " + "[" * 1000], 2, "not YAML"),
        (["a: " + "9" * 9000], 2, "not YAML"),
        (["a: \x1b"], 2, "not YAML"),
        (["a: x\udcff"], 2, "not YAML"),
    ],
)
def test_a_malformed_value_is_an_error_of_its_field(lines, line, problem):
    document = front(*lines, "b: 1")
    message, evidence = error_lines(document.value, "a")
    assert message == f"tasks/a.md:{line}: a: {problem}"
    assert evidence == f"{line} | {document.text.split(chr(10))[line - 1]}"
    assert document.value("b") == 1
    assert document.set("a", 1).value("a") == 1


# Other programs


def test_python_frontmatter_reads_and_writes_with_our_handler():
    post = frontmatter.loads(TASK.text, handler=Handler())
    assert post.metadata == {key: TASK.value(key) for key in TASK.fields}
    assert post.content == "Text\n---\nmore"
    post["title"] = "1.10"
    again = frontmatter.dumps(post, handler=Handler())
    assert Document(again).text_value("title") == "1.10"
    assert list(Document(again).fields) == list(TASK.fields)
    assert frontmatter.loads(again, handler=Handler()).metadata == post.metadata
    assert again.endswith("\n---\nText\n---\nmore")


@given(
    st.dictionaries(texts.filter(lambda text: text not in {"content", "handler"}), values),
    st.text(string.printable),
)
def test_the_handler_reads_its_own_output(metadata, content):
    post = frontmatter.Post(content)
    post.metadata = metadata
    again = frontmatter.loads(frontmatter.dumps(post, handler=Handler()), handler=Handler())
    assert again.metadata == metadata
    assert again.content == content.strip()


def test_without_front_matter_the_handler_finds_none():
    assert not Handler().detect("x\n")
    assert Handler().detect("---\n---\n")
    post = frontmatter.loads("x\n", handler=Handler())
    assert (post.metadata, post.content) == ({}, "x")
    assert frontmatter.loads("---\n---\nx", handler=Handler()).metadata == {}


@pytest.mark.parametrize("word", ["Infinity", "-Infinity", "NaN"])
def test_a_word_that_only_pythons_json_takes_for_a_number_is_text(word):
    assert Document(f"---\nkey: {word}\n---\n").value("key") == word
