"""Path patterns mean what they mean in `.gitignore`."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitmill.git.path_patterns import DeclaredPaths, Patterns
from tests.support.repos import Repo
from tests.support.seeds import times

parts = st.sampled_from(["a", "b", "ab", "src", "a.py", "b.py", ".x"])
globs = st.sampled_from(["a", "b", "src", "*.py", "*", "a*", "?", "**", "[ab]", "[!a]", ".x"])
paths = st.lists(parts, min_size=1, max_size=4).map("/".join)
patterns = st.builds(
    lambda negated, anchored, names, folder: (
        "!" * negated + "/" * anchored + "/".join(names) + "/" * folder
    ),
    st.integers(0, 3).map(lambda n: n == 0),
    st.booleans(),
    st.lists(globs, min_size=1, max_size=3),
    st.booleans(),
)


def ignored_by_git(repo, lines, asked):
    """Return which of the paths git takes for ignored; files that stand nowhere are files."""
    (repo.path / ".gitignore").write_text("".join(f"{line}\n" for line in lines))
    told = repo.git(
        "check-ignore", "--no-index", "-z", "--stdin",
        stdin="\0".join(asked).encode(), check=False,
    )  # fmt: skip
    return {path for path in told.split("\0") if path}


@pytest.fixture
def repo(sandbox) -> Repo:
    return sandbox.repo()


@settings(max_examples=times(60))
@given(
    st.lists(patterns, min_size=1, max_size=4), st.lists(paths, min_size=8, max_size=8, unique=True)
)
def test_they_match_the_paths_that_git_ignores(repo, lines, asked):
    found = Patterns(lines)
    assert {path for path in asked if found.match(path)} == ignored_by_git(repo, lines, asked)


@pytest.mark.parametrize(
    ("lines", "matched", "others"),
    [
        (["*.pyc"], ["a.pyc", "d/e/a.pyc"], ["a.py", "a.pyc2"]),
        (["docs/"], ["docs/a", "x/docs/a"], ["docs", "docsx/a"]),
        (["/docs/"], ["docs/a"], ["x/docs/a"]),
        (["src/**"], ["src/a", "src/d/a"], ["src", "x/src/a"]),
        (["src/*.py"], ["src/a.py"], ["src/d/a.py", "x/src/a.py"]),
        (["**/x"], ["x", "a/x", "a/b/x", "a/x/b"], ["ax"]),
        (["*.log", "!keep.log"], ["a.log"], ["keep.log", "d/keep.log"]),
        (["d/", "!d/keep"], ["d/a", "d/keep"], ["x"]),
        (["\\#a", "\\!b"], ["#a", "!b"], ["a", "b"]),
        (["# a", "", "  "], [], ["# a", "a", " "]),
        (["with space", "ä*"], ["with space", "äb", "x/äb"], ["with", "space"]),
        ([".gitmill/", ".github/", "/hooks/"], [".gitmill/config.toml", ".github/workflows/ci.yml", "hooks/x"], ["src/hooks/x", "gitmill/x"]),
        (["-x", "--"], ["-x", "a/--"], ["x"]),
    ],
)  # fmt: skip
def test_examples_that_people_write(repo, lines, matched, others):
    found = Patterns(lines)
    assert [path for path in [*matched, *others] if found.match(path)] == matched
    assert ignored_by_git(repo, lines, [*matched, *others]) == set(matched)


def test_without_patterns_nothing_matches():
    assert not Patterns([]).match("a")


@given(st.text(min_size=1).filter(lambda path: "\0" not in path))
def test_any_path_can_be_asked(path):
    assert Patterns(["*"]).match(path) or path.strip("/") == ""


def test_bytes_that_are_not_utf_8():
    found = Patterns(["latin\udce9/"])
    assert found.match("latin\udce9/x")
    assert not found.match("latin\udcff/x")


def test_a_line_break_is_part_of_a_name():
    assert Patterns(["a*"]).match("a\nb")
    assert not Patterns(["a"]).match("a\n")
    assert not Patterns(["*.py"]).match("a.py\nb")


# -- declared paths --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "matched", "others"),
    [
        ("app/[id]/page.tsx", ["app/[id]/page.tsx", "app/i/page.tsx"], ["app/x/page.tsx"]),
        ("app/[id]/", ["app/[id]/page.tsx", "app/[id]/deep/er.ts"], ["app/other/page.tsx"]),
        ("app/\\[id\\]/page.tsx", ["app/[id]/page.tsx"], ["app/i/page.tsx"]),
        ("app/(shop)/[...slug]", ["app/(shop)/[...slug]/page.tsx"], ["app/(shop)/x/page.tsx"]),
        ("notes*?.md", ["notes*?.md", "notes-a.md"], ["notes.txt"]),
        ("cafe\u0301.md", ["caf\u00e9.md", "cafe\u0301.md"], ["cafe.md"]),
        ("caf\u00e9/", ["cafe\u0301/a.md"], ["cafe/a.md"]),
        ("latin\udce9/", ["latin\udce9/x"], ["latin\udcff/x"]),
    ],
)
def test_a_declared_path_matches_as_it_is_spelled(declared, matched, others):
    found = DeclaredPaths([declared])
    assert [path for path in [*matched, *others] if found.match(path)] == matched


def test_what_is_declared_can_be_narrowed():
    found = DeclaredPaths(["app/*", "!app/secret.ts"])
    assert found.match("app/[id]/page.tsx")
    assert not found.match("app/secret.ts")


@given(st.lists(patterns, min_size=1, max_size=4), paths)
def test_a_declared_pattern_means_at_least_what_it_means_to_git(lines, path):
    plain = [line for line in lines if not line.startswith("!")]
    assert DeclaredPaths(plain).match(path) >= Patterns(plain).match(path)
