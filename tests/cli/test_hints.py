"""Hints and `next:` are commands that exist: each in the code, and each on a screen of the suite.

The screens are asked where they are read, in `gitmill()` of `tests/support/cli.py`.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from gitmill.cli.command_line import as_json, line, sentence
from gitmill.errors import Exit
from gitmill.hints import Blank, Gitmill, Hint, Shell
from tests.support.cli import begun, gitmill, new_task
from tests.support.hints import accept, check, printed, runnable, without_globals
from tests.support.repos import Repo, Sandbox

PACKAGE = Path(__file__).parents[2] / "gitmill"
VALUE = "1"  # stands for what is only known when the hint is made
# What the hint is about decides the verb; screens of the suite show each of these.
OPEN = {
    "Gitmill(*rest)", "Gitmill(close[0])", "Gitmill(*shown, '--help')",
    "Gitmill('task', verb, Blank('ID'), '-m', Blank('TEXT'))",
    "Gitmill('-C', Blank('DIR'), Blank('…'))",
}  # fmt: skip
PROGRAMS = {
    "git", "pip", "cd", "cat", "ls", "ps", "date", "export", "apt-get", "apparmor_parser", "df", "ulimit", "journalctl",
}  # fmt: skip
# Lines that another part knows: a sign-in, git's own advice, this Python, a setting.
FOREIGN = {"command", "command[0].strip()"}


def test_a_command_is_quoted_for_a_shell_and_blanks_are_printed_as_written():
    command = Gitmill("task", "edit", "t-k3f9x", "--criterion", "$ true", "-m", Blank('"why"'))
    assert line(command) == "gitmill task edit t-k3f9x --criterion '$ true' -m \"why\""
    assert line(Shell("git log -1")) == "git log -1"


def test_an_error_in_json_has_the_commands_of_its_hints(sandbox: Sandbox):
    repo = begun(sandbox, files={"a.txt": "a\n"})
    error = json.loads(gitmill(repo.path, "task", "show", "t-zzzzz", "--json").err)
    assert error["hints"] == ["see all with `gitmill task list`"]
    assert error["commands"] == [{"argv": ["gitmill", "task", "list"], "blanks": []}]


def test_a_hint_is_prose_with_its_commands_in_backticks():
    hint = Hint("see", Gitmill("log"), ", then", Gitmill("undo", Blank("ID")), "; or wait")
    assert sentence(hint) == "see `gitmill log`, then `gitmill undo ID`; or wait"
    assert sentence(Hint(Gitmill("recover"))) == "`gitmill recover`"
    assert sentence(Hint("run it in WSL")) == "run it in WSL"


def test_json_has_each_command_as_words_and_marks_the_blanks():
    hints = [Hint("block it:", Gitmill("task", "block", "t-k3f9x", "-m", Blank('"…"'))),
             Hint("or check with", Shell("git fsck"), ", and wait")]  # fmt: skip
    assert as_json(hints) == {
        "hints": ['block it: `gitmill task block t-k3f9x -m "…"`',
                  "or check with `git fsck`, and wait"],
        "commands": [
            {"argv": ["gitmill", "task", "block", "t-k3f9x", "-m", "…"], "blanks": [5]},
            {"shell": "git fsck"},
        ],
    }  # fmt: skip


@cache
def calls(name: str) -> list[tuple[str, ast.Call]]:
    """Return every call of a class of `hints.py`, with its module."""
    return [(module, node) for module, node in _calls() if ast.unparse(node.func) == name]


@cache
def _calls() -> list[tuple[str, ast.Call]]:
    found = []
    for module in sorted(PACKAGE.rglob("*.py")):
        text = module.read_text("utf-8")
        if "gitmill.hints import" in text:
            names = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
            found += [(module.relative_to(PACKAGE).as_posix(), node) for node in names
                      if isinstance(node.func, ast.Name)]  # fmt: skip
    return found


def word(node: ast.expr) -> str:
    """Return a word of a command; `VALUE` if the code computes it, `…` for any number of words."""
    if isinstance(node, ast.Starred):
        return "…"
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "Blank":
        return word(node.args[0]).strip('"')
    return str(node.value) if isinstance(node, ast.Constant) else VALUE


def is_open(node: ast.Call) -> bool:
    """Whether the code computes the verb of a command."""
    verb = without_globals([word(arg) for arg in node.args])[:2]
    return verb[:1] in (["…"], [VALUE]) or verb == ["task", VALUE]


def test_the_command_line_accepts_each_command_in_the_code():
    commands = [(module, node) for module, node in calls("Gitmill") if not is_open(node)]
    assert len(commands) > 100
    for module, node in commands:
        try:
            accept([word(arg) for arg in node.args])
        except Exception as refused:
            raise AssertionError(f"{module}:{node.lineno}: {ast.unparse(node)}") from refused


def test_commands_whose_verb_the_code_computes_are_few():
    assert {ast.unparse(node) for _, node in calls("Gitmill") if is_open(node)} == OPEN


def test_other_command_lines_begin_with_a_known_program_and_git_with_a_command_of_git():
    listed = ["git", "--list-cmds=main,others,nohelpers"]
    known = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    for module, node in calls("Shell"):
        if ast.unparse(node.args[0]) in FOREIGN:
            continue
        text = ast.unparse(node.args[0]).lstrip("f").strip("'\"")
        if text.startswith(("{shlex.quote(sys.executable)}", "{switch}")):
            continue
        program, verb = re.sub(r"^(git) -C \S+", r"\1", text).split()[:2]
        assert program in PROGRAMS, f"{module}: {text}"
        assert program != "git" or verb in known, f"{module}: {text}"
        check(f"next: `{text}`")


def test_prose_of_a_hint_names_no_command():
    for module, node in calls("Hint"):
        prose = [ast.unparse(arg) for arg in node.args if not isinstance(arg, ast.Call)]
        assert not re.findall(r"`(?:git|gitmill) [^`]*`", " ".join(prose)), f"{module}: {prose}"


@pytest.mark.parametrize("screen", [
    "next: `gitmill task shew t-k3f9x`", "hint: see `gitmill task show`",
    "      hint: or `gitmill doctor --mend`", 'next: `cd "$(gitmill task paths t-k3f9x)"`',
    '{"schema": 1, "commands": [{"argv": ["gitmill", "frob"], "blanks": []}]}',
])  # fmt: skip
def test_a_screen_with_a_hint_that_is_no_command_is_refused(screen: str):
    with pytest.raises(Exception, match=r"no command|[Mm]issing|[Nn]o such option"):
        check(f"ready  1\n{screen}\n")


def test_every_command_of_a_screen_is_found():
    screen = 'next: `git add x && gitmill run`, then `gitmill task new "What to do" --ready`'
    assert list(printed(screen)) == [["run"], ["task", "new", "What to do", "--ready"]]


CHECK = "tests"


def example(node: ast.Call, item: str) -> list[str]:
    """Return the words of a command with something in place of each blank and value."""
    words = [word(arg) for arg in node.args]
    verb = without_globals(words)[0]
    value = {"agent": "shell", "gc": "30", "fsck": "gitmill/state.."}.get(verb, item)
    filled = {VALUE: value, "ID": item, "BRANCH": "main", "FILE": "new.bundle", "NAME": "shell"}
    words = [filled.get(one, one) for one in words]
    if "--fixes-check" in words:
        words[words.index("--fixes-check") + 1] = CHECK
    if words[0] == "-C":
        words[1] = "."
    return runnable(words)


@pytest.fixture
def sample(sandbox: Sandbox) -> Repo:
    """A repository with an item that waits for a person and one that is ready."""
    policy = f'[checks.{CHECK}]\ncommand = "true"\n'
    repo = begun(sandbox, files={"a.txt": "a\n", ".gitmill/config.toml": policy})
    new_task(repo.path, "Wait", "echo b > b.txt", "--criterion", "$ true", "--criterion", "prose")
    assert gitmill(repo.path, "run").code == 3
    new_task(repo.path, "Next", "echo c > c.txt")
    return repo


@pytest.mark.slow
def test_each_command_of_a_hint_runs(sample: Repo, tmp_path: Path):
    """It may fail, as this is not where it is printed, but not as misused and not with a bug.

    `demo` is left out, which takes as long as all others.
    """
    item = gitmill(sample.path, "task", "list", "--json").json["items"][0]["id"]
    commands = [example(node, item) for _, node in calls("Gitmill") if not is_open(node)]
    longest = {tuple(words[:2]): words for words in sorted(commands, key=len)}
    for number, words in enumerate(words for words in longest.values() if words[0] != "demo"):
        copy = tmp_path / "copies" / str(number)
        shutil.copytree(sample.path, copy, symlinks=True)
        said = gitmill(copy, *words)
        assert said.code not in (Exit.USAGE, Exit.BUG), f"{words}: {said.err}"
