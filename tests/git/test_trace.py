"""Names found in a trace of git commands."""

from __future__ import annotations

from gitmill.git.trace import mentions


def test_a_name_counts_only_as_a_whole_word_of_the_arguments(tmp_path):
    trace = tmp_path / "trace"
    trace.write_text(
        '{"event":"version"}\n{"event":"start","argv":["git","branch","-D","topic/one"]}\n'
        '{"event":"start","argv":["git","config","Alias.st","x"]}\n{"event":"start","argv":["gi'
    )
    assert mentions(trace, "topic/one")
    assert mentions(trace, "alias.st")
    assert not mentions(trace, "top")
    assert not mentions(trace, "")
    assert not mentions(tmp_path / "none", "topic/one")
