"""Code and pages use the words of docs/glossary.md and none of the phrases that it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitmill.core.lifecycle import Event, Status
from gitmill.core.verdict import VerdictWord
from tests.support import prose
from tests.support.prose import GLOSSARY, Phrase, Text

TWINS, RIDDLES = prose.phrases()


@pytest.fixture(scope="module")
def texts() -> list[Text]:
    return list(prose.project())


@pytest.mark.parametrize("group", [TWINS, RIDDLES], ids=["twins", "riddles"])
def test_no_refused_phrase_is_used(group: list[Phrase], texts: list[Text]):
    hits = [hit for phrase in group for hit in prose.search(texts, phrase)]
    assert not hits, "\n".join(["refused by docs/glossary.md:", *map(str, hits)])


def test_each_expression_finds_its_example_and_not_what_to_write_instead():
    for phrase in (*TWINS, *RIDDLES):
        assert phrase.expression.search(phrase.example), phrase
        assert not phrase.expression.search(phrase.better), phrase


INNOCENT = (
    "git's index.lock and the land lock", "a lock on the file", "LandLock", "the merge queue",
    "a merge commit", "the merge base", "a GitHub issue", "the issue of a token", "a CI job",
    "half of its job", ".github/workflows/tests.yml", "the next step", "an AppArmor profile",
    "a conflict marker", "the provider's key", "the state branch", "all at once", "of course",
    "the way in which it is done", "one can tell apart", "an outage cools the agent down",
    "two clones do it at once", "the CLI is told to read it", "the old one's keys",
    "nothing can tell whether it is right", "what agents are told", "`put back` and `is told`",
)  # fmt: skip


def test_legitimate_uses_are_left_alone():
    innocent = [Text(GLOSSARY, number, text) for number, text in enumerate(INNOCENT)]
    assert [hit for phrase in (*TWINS, *RIDDLES) for hit in prose.search(innocent, phrase)] == []


MODULE = '''\
"""First line.

It is
told here.
"""

X = f"the {X} is told of {'be told'}"  # it was
# told twice
Y = "`is told`"
'''


def test_every_kind_of_prose_is_searched_with_its_line(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(prose, "ROOT", tmp_path)
    module = tmp_path / "module.py"
    module.write_text(MODULE)
    phrase = next(phrase for phrase in RIDDLES if phrase.expression.search("is told"))
    hits = prose.search(list(prose.of_module(module)), phrase)
    assert [(hit.path, hit.line) for hit in hits] == [("module.py", line) for line in (3, 7, 7, 7)]


def test_the_glossary_names_every_event_and_verdict_and_the_right_number_of_statuses():
    page = GLOSSARY.read_text("utf-8").partition("## Refused phrases")[0]
    assert {event.value for event in Event if f"`{event.value}`" not in page} == set()
    assert f"outcome of an attempt: {', '.join(VerdictWord)}" in page
    assert len(Status) == 11, "the glossary says eleven"
