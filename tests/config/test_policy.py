"""The policy: reading it, the messages of refusals, and the settings page."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitmill.config import Limits, Policy, obsolete, parse_policy, settings_table
from gitmill.config.values import (
    Permission,
    When,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)
from gitmill.errors import BadConfigError
from tests.support.hints import shown

PAGE = Path(__file__).parents[2] / "docs/reference/settings.md"

FULL = r"""
mode = "fast"

[land]
auto = false

[checks]
lint = "ruff check ."

[checks.test]
command = "python -m pytest -q"
timeout = "1h30m"
inputs = ["tests/conftest.py"]

[fix]
format = "ruff format ."
[fix.hook]
command = "pre-commit run --all-files"
timeout = "2m"

[worktree]
setup = ["python -m venv .venv"]
lock = ["requirements*.txt"]
share = ["third_party/cache"]
shell = "zsh -e"
max_disk = "5GB"
ignore = ["*.log"]

[worktree.env]
PYTHONPATH = "{worktree}/src"

[sanity]
max_files = 10
max_lines = 100
max_file_size = "1MiB"
protected = ["infra/"]
forbidden_lines = ['eval\(']
allow_secrets = ["0123456789abcdef"]

[limits]
returns = 2
attempts = 4
aborts = 5
wait = "10m"
prompt = "50KB"

[budget.attempt]
tokens = 500_000
cost = 2
time = "1h"

[budget.item]
tokens = 2_000_000
cost = 5.5
attempts = 12
time = "4h"

[budget.day]
tokens = 3_000_000
cost = 50.0
attempts = 200
time = "2d"

[agents.mine]
command = ["prog", "an arg"]
timeout = "20m"
idle = "5m"
permission = "workspace"
model = "small"
options = ["--fast"]

[prices.small]
input = 1.25
cached = 0.125
output = 10

[modes.fast]
roles = {builder = "mine", reviewer = ["rules", "mine"]}
approvals = {review = 2}
distinct_from = {review = ["author", "review"]}
gates = {approve = "never"}

[prices.large]
input = 1.25
output = 10.0
cached = 0.125

[environment]
pass = ["PYPI_TOKEN"]
[sandbox]
enforce = "required"
network = "off"

[audit]
anchor = "day"
"""


def error_lines(text, **kwargs):
    """Return message, evidence and hints of the error of `parse_policy`, a line each."""
    with pytest.raises(BadConfigError) as caught:
        parse_policy(text, **kwargs)
    error = caught.value
    return [error.message, *error.evidence, *(f"hint: {hint}" for hint in shown(error.hints))]


def test_every_key_is_read_into_the_model():
    policy = parse_policy(FULL)
    assert policy.mode == "fast"
    assert policy.land.model_dump() == {"auto": False}
    assert policy.checks["lint"].model_dump() == {
        "command": "ruff check .", "timeout": 600, "inputs": (),
    }  # fmt: skip
    assert policy.checks["test"].model_dump() == {
        "command": "python -m pytest -q", "timeout": 5400, "inputs": ("tests/conftest.py",),
    }  # fmt: skip
    assert policy.fix["format"].model_dump() == {"command": "ruff format .", "timeout": 300}
    assert policy.fix["hook"].timeout == 120
    assert policy.worktree.model_dump() == {
        "setup": ("python -m venv .venv",), "lock": ("requirements*.txt",),
        "share": ("third_party/cache",), "shell": "zsh -e", "max_disk": 5 * 10**9,
        "ignore": ("*.log",), "env": {"PYTHONPATH": "{worktree}/src"},
    }  # fmt: skip
    assert policy.sanity.model_dump() == {
        "max_files": 10, "max_lines": 100, "max_file_size": 1048576, "protected": ("infra/",),
        "forbidden_lines": (r"eval\(",), "allow_secrets": ("0123456789abcdef",),
    }  # fmt: skip
    assert policy.limits.model_dump() == {
        "returns": 2, "attempts": 4, "aborts": 5, "wait": 600, "prompt": 50_000,
    }  # fmt: skip
    assert policy.budget.model_dump() == {
        "attempt": {"tokens": 500_000, "cost": 2.0, "time": 3600},
        "item": {"tokens": 2_000_000, "cost": 5.5, "attempts": 12, "time": 14400},
        "day": {"tokens": 3_000_000, "cost": 50.0, "attempts": 200, "time": 172800},
    }
    assert policy.agents["mine"].model_dump() == {
        "command": ("prog", "an arg"), "timeout": 1200, "idle": 300,
        "permission": Permission.WORKSPACE, "model": "small", "options": ("--fast",),
    }  # fmt: skip
    assert policy.modes["fast"].roles == {"builder": ("mine",), "reviewer": ("rules", "mine")}
    assert policy.modes["fast"].approvals == {"review": 2}
    assert policy.modes["fast"].distinct_from == {"review": ("author", "review")}
    assert policy.modes["fast"].gates == {"approve": When.NEVER}
    assert policy.environment.passed == ("PYPI_TOKEN",)


def test_an_empty_file_gives_the_defaults_with_every_limit_on():
    policy = parse_policy("")
    assert policy == Policy()
    assert policy.checks is None
    assert policy.limits == Limits(returns=6, attempts=3, aborts=3)
    assert (policy.sanity.max_files, policy.sanity.max_lines) == (200, 5000)
    assert policy.sanity.max_file_size == 2_000_000
    assert policy.worktree.max_disk == 20 * 10**9
    assert policy.protected_paths[-1] == ".gitmill/"


def test_an_empty_table_of_checks_is_not_the_same_as_none():
    assert parse_policy("[checks]\n").checks == {}


def test_the_policy_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        parse_policy("").land.auto = False


def test_protected_paths_have_the_inputs_of_checks_and_end_with_our_own_folder():
    text = (
        '[sanity]\nprotected = ["infra/", "!.gitmill/"]\n'
        '[checks.test]\ncommand = "make"\ninputs = ["Makefile", "infra/"]\n'
    )
    assert parse_policy(text).protected_paths == (
        "infra/", "!.gitmill/", "Makefile", "/.worktreeinclude", ".gitmill/",
    )  # fmt: skip


@pytest.mark.parametrize("path", ["/abs", "../x", "a/../b", "./a", "a//b", "a/", ""])
def test_only_paths_below_the_checkout_can_be_shared(path: str):
    with pytest.raises(BadConfigError, match=r"worktree\.share"):
        parse_policy(f"[worktree]\nshare = ['{path}']\n")


def test_keys_that_have_lost_their_purpose_are_read_and_told():
    text = "[worktree]\nkeep = ['.venv']\n[worktree.env]\nPYTHONPATH = '{worktree}/src'\n"
    parse_policy(text)
    (keep, instead), (path, _) = obsolete(text)
    assert "`[worktree] keep` does nothing" in keep
    assert '`share = [".venv"]`' in instead
    assert "`PYTHONPATH`" in path
    assert obsolete("[worktree]\nsetup = ['make']\n") == []


def test_all_commands_that_need_trust_are_listed_by_their_key():
    assert parse_policy(FULL).commands == {
        "checks.lint": "ruff check .",
        "checks.test": "python -m pytest -q",
        "worktree.setup.1": "python -m venv .venv",
        "agents.mine": "prog 'an arg' --fast",
        "worktree.shell": "zsh -e",
        "fix.format": "ruff format .",
        "fix.hook": "pre-commit run --all-files",
    }


def test_only_the_worktree_placeholder_is_replaced():
    policy = parse_policy('[worktree.env]\nA = "{worktree}/x:${HOME}"\nB = \'{"k": 1}\'\n')
    assert policy.worktree.environment("/w") == {"A": "/w/x:${HOME}", "B": '{"k": 1}'}


REFUSED = {
    "a budget of nothing": (
        "[budget.item]\ncost = 0\n",
        [
            ".gitmill/config.toml:2: budget.item.cost must be an amount of US dollars above 0, "
            "such as 5.0, not 0",
            "2 | cost = 0",
            "hint: for example `cost = 5.0`",
        ],
    ),
    "unknown key": (
        "[land]\nauto = false\natuo = true\n",
        [
            ".gitmill/config.toml:3: there is no key land.atuo",
            "3 | atuo = true",
            "hint: did you mean `land.auto`?",
        ],
    ),
    "unknown table": (
        '\n[chekcs]\ntest = "true"\n',
        [
            ".gitmill/config.toml:2: there is no key chekcs",
            "2 | [chekcs]",
            "hint: did you mean `checks`?",
        ],
    ),
    "key of another table": (
        "auto = true\n",
        [
            ".gitmill/config.toml:1: there is no key auto",
            "1 | auto = true",
            "hint: did you mean `land.auto`?",
        ],
    ),
    "keys that are set elsewhere": (
        '[land]\ntarget = "main"\n[worktree]\nroot = "/fast"\n',
        [
            ".gitmill/config.toml:2: there is no key land.target",
            '2 | target = "main"',
            ".gitmill/config.toml:4: there is no key worktree.root",
            "hint: the target is set with `gitmill init --target BRANCH`",
            ("hint: worktrees are placed with `git config gitmill.worktreeRoot /some/folder`"),
        ],
    ),
    "key like no other": (
        "[limits]\nzzz = 1\n",
        [
            ".gitmill/config.toml:2: there is no key limits.zzz",
            "2 | zzz = 1",
            "hint: known keys: returns, attempts, aborts, wait, prompt",
        ],
    ),
    "our own name of a key": (
        '[environment]\npassed = ["A"]\n',
        [
            ".gitmill/config.toml:2: there is no key environment.passed",
            '2 | passed = ["A"]',
            "hint: did you mean `environment.pass`?",
        ],
    ),
    "wrong type": (
        '[land]\nauto = "yes"\n',
        [
            '.gitmill/config.toml:2: land.auto must be true or false, not "yes"',
            '2 | auto = "yes"',
            "hint: for example `auto = false`",
        ],
    ),
    "number as text": (
        'limits.attempts = "3"\n',
        [
            '.gitmill/config.toml:1: limits.attempts must be a whole number, not "3"',
            '1 | limits.attempts = "3"',
            "hint: for example `attempts = 3`",
        ],
    ),
    "text for a list": (
        '[agents.mine]\ncommand = "prog arg"\n',
        [
            '.gitmill/config.toml:2: agents.mine.command must be a list, not "prog arg"',
            '2 | command = "prog arg"',
            'hint: for example `command = ["prog", "arg"]`',
        ],
    ),
    "empty command of an agent": (
        "[agents.mine]\ncommand = []\n",
        [
            (
                ".gitmill/config.toml:2: agents.mine.command must be a list that is not empty, "
                "not []"
            ),
            "2 | command = []",
            'hint: for example `command = ["prog", "arg"]`',
        ],
    ),
    "table for a text": (
        "[mode]\n",
        [
            ".gitmill/config.toml:1: mode must be a text, not {}",
            "1 | [mode]",
            'hint: for example `mode = "offline"`',
        ],
    ),
    "text for a table": (
        "checks = 3\n",
        [
            ".gitmill/config.toml:1: checks must be a table, not 3",
            "1 | checks = 3",
            "hint: see the keys with `gitmill config list`",
        ],
    ),
    "empty check command": (
        '[checks]\nlint = "ruff"\ntest = ""\n',
        [
            (
                ".gitmill/config.toml:3: checks.test.command must be a text that is not empty, "
                'not ""'
            ),
            '3 | test = ""',
            'hint: for example `command = "python -m pytest -q"`',
        ],
    ),
    "blank check command": (
        '[checks.test]\ncommand = " \\t"\n',
        [
            (
                ".gitmill/config.toml:2: checks.test.command must be a text that is not empty, "
                'not " \\t"'
            ),
            '2 | command = " \\t"',
            'hint: for example `command = "python -m pytest -q"`',
        ],
    ),
    "check without a command": (
        '[checks.test]\ntimeout = "5m"\n',
        [
            ".gitmill/config.toml:1: the key checks.test.command is missing",
            "1 | [checks.test]",
            'hint: for example `command = "python -m pytest -q"`',
        ],
    ),
    "bad duration": (
        '[checks]\ntest = {command = "make", timeout = 10}\n',
        [
            (
                '.gitmill/config.toml:2: checks.test.timeout must be a duration from "1s" to "7d", '
                'such as "90s", "20m" or "1h30m", not 10'
            ),
            '2 | test = {command = "make", timeout = 10}',
            'hint: for example `timeout = "10m"`',
        ],
    ),
    "input that takes protection away": (
        '[checks.test]\ncommand = "make"\ninputs = ["!.gitmill/"]\n',
        [
            (
                ".gitmill/config.toml:3: checks.test.inputs must be a path as in `.gitignore`, "
                'without `!`, not "!.gitmill/"'
            ),
            '3 | inputs = ["!.gitmill/"]',
            'hint: for example `inputs = ["tests/conftest.py"]`',
        ],
    ),
    "bad size": (
        '[sanity]\nmax_file_size = "2"\n',
        [
            (
                ".gitmill/config.toml:2: sanity.max_file_size must be a size such as "
                '"500KB" or "2MB", not "2"'
            ),
            '2 | max_file_size = "2"',
            'hint: for example `max_file_size = "2MB"`',
        ],
    ),
    "a limit of the disk without a unit": (
        "[checks]\n[worktree]\nmax_disk = 20\n",
        [
            (
                ".gitmill/config.toml:3: worktree.max_disk must be a size such as "
                '"500KB" or "2MB", not 20'
            ),
            "3 | max_disk = 20",
            'hint: for example `max_disk = "50GB"`',
        ],
    ),
    "no room at all": (
        '[worktree]\nmax_disk = "0GB"\n',
        [
            (
                ".gitmill/config.toml:2: worktree.max_disk must be a size such as "
                '"500KB" or "2MB", not "0GB"'
            ),
            '2 | max_disk = "0GB"',
            'hint: for example `max_disk = "50GB"`',
        ],
    ),
    "bad regular expression": (
        '[sanity]\nforbidden_lines = [\n  "(",\n]\n',
        [
            (
                ".gitmill/config.toml:2: sanity.forbidden_lines must be a regular expression "
                '(missing ), unterminated subpattern at position 0), not "("'
            ),
            "2 | forbidden_lines = [",
            r"hint: for example `forbidden_lines = ['\beval\(']`",
        ],
    ),
    "limit out of range": (
        "[limits]\nattempts = 0\nreturns = 1000\n",
        [
            ".gitmill/config.toml:2: limits.attempts must be at least 1, not 0",
            "2 | attempts = 0",
            ".gitmill/config.toml:3: limits.returns must be at most 100, not 1000",
            "hint: for example `attempts = 3`",
            "hint: for example `returns = 6`",
        ],
    ),
    "unknown gate": (
        '[modes.fast]\ngates = {approve = "sometimes"}\n',
        [
            (
                ".gitmill/config.toml:2: modes.fast.gates.approve must be one of "
                'never, always, high-risk, not "sometimes"'
            ),
            '2 | gates = {approve = "sometimes"}',
            'hint: for example `gates = {approve = "always"}`',
        ],
    ),
    "unknown permission": (
        '[agents.mine]\npermission = "root"\n',
        [
            (
                ".gitmill/config.toml:2: agents.mine.permission must be one of "
                'read-only, workspace, full, not "root"'
            ),
            '2 | permission = "root"',
            'hint: for example `permission = "workspace"`',
        ],
    ),
    "name with a space": (
        '[checks]\n"my test" = "make"\n',
        [
            (
                ".gitmill/config.toml:2: checks.my test must be a name of letters, digits, "
                '. - and _, not "my test"'
            ),
            '2 | "my test" = "make"',
            "hint: see the keys with `gitmill config list`",
        ],
    ),
    "unknown placeholder": (
        '[worktree.env]\nA = "{worktre}/src"\n',
        [
            (
                ".gitmill/config.toml:2: worktree.env.A must be a text without placeholders other "
                'than {worktree}, not "{worktre}/src"'
            ),
            '2 | A = "{worktre}/src"',
            'hint: for example `env = {APP_CONFIG = "{worktree}/config/test.ini"}`',
        ],
    ),
    "not TOML": (
        'mode = "offline"\nland\n',
        [
            (
                ".gitmill/config.toml:2: this is not TOML: "
                "expected '=' after a key in a key/value pair"
            ),
            "2 | land",
            'hint: write lines such as `key = "text"`, `key = 3` or `[table]`',
        ],
    ),
    "key twice": (
        'mode = "a"\nmode = "b"\n',
        [
            ".gitmill/config.toml:2: this is not TOML: cannot overwrite a value",
            '2 | mode = "b"',
            'hint: write lines such as `key = "text"`, `key = 3` or `[table]`',
        ],
    ),
    "text that does not end": (
        'mode = """offline\n\n',
        [
            ".gitmill/config.toml:2: this is not TOML: unterminated string",
            "2 | ",
            'hint: write lines such as `key = "text"`, `key = 3` or `[table]`',
        ],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_file_line_key_and_expected_value(case):
    text, expected = REFUSED[case]
    assert error_lines(text) == expected


def test_errors_come_in_the_order_of_their_lines_with_the_file_that_was_named():
    text = '[worktree]\nlock = "x"\n[land]\nauto = 1\n[checks]\ntest = 1\n'
    assert error_lines(text, source="main:.gitmill/config.toml") == [
        'main:.gitmill/config.toml:2: worktree.lock must be a list, not "x"',
        '2 | lock = "x"',
        "main:.gitmill/config.toml:4: land.auto must be true or false, not 1",
        "main:.gitmill/config.toml:6: checks.test must be a table, not 1",
        'hint: for example `lock = ["requirements*.txt"]`',
        "hint: for example `auto = false`",
        "hint: see the keys with `gitmill config list`",
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("90s", 90), ("20m", 1200), ("1h30m", 5400), ("2d", 172800), ("7d", 604800)],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0s", "20", "-5m", "1.5h", "30m1h", "8d", "20 m", "20M", "٣m", 20, None]
)
def test_invalid_durations(text):
    with pytest.raises(ValueError, match='a duration from "1s" to "7d"'):
        parse_duration(text)


@given(st.integers(1, 7 * 86400))
def test_durations_round_trip(seconds):
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("1B", 1), ("500KB", 500_000), ("2mb", 2_000_000), ("1KiB", 1024)]
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0MB", "2", "2 MB", "2TB", "-2MB", "1.5MB", "1iB", 5])
def test_invalid_sizes(text):
    with pytest.raises(ValueError, match="a size such as"):
        parse_size(text)


@given(st.integers(1, 10**12 - 1))
def test_sizes_round_trip(size):
    assert parse_size(format_size(size)) == size


def test_the_page_of_the_settings_has_the_table_of_the_model():
    text = PAGE.read_text(encoding="utf-8")
    assert text.endswith("\n\n" + settings_table()), "run: gitmill.config.settings_table()"


NAMED = (("checks",), ("fix",), ("agents",), ("modes",), ("prices",))


def test_the_page_of_the_settings_names_every_key_that_a_policy_can_have():
    def flat(table, path=()):
        for key, value in table.items():
            here = (*path, "NAME" if path in NAMED else key)
            if isinstance(value, dict) and key not in (
                "env",
                "roles",
                "gates",
                "approvals",
                "distinct_from",
            ):
                yield from flat(value, here)
            else:
                yield ".".join(here)

    named = set(flat(tomllib.loads(FULL))) - {"checks.NAME", "fix.NAME"}  # the short forms
    page = PAGE.read_text(encoding="utf-8").partition("## The policy")[2]
    assert {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")} == named
