"""The policy `.gitmill/config.toml` as frozen models. An unknown key or value is an error."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo

from gitmill.config.problems import explain, keys, not_toml, to_toml
from gitmill.config.values import (
    FORBIDDEN_LINES,
    Agents,
    Anchor,
    Below,
    Bytes,
    Digest,
    Dollars,
    Enforce,
    Model,
    Money,
    Name,
    Names,
    Network,
    Path,
    Permission,
    Regex,
    Seconds,
    ShellLine,
    Text,
    Value,
    Variable,
    When,
    command_line,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)
from gitmill.hints import Blank, Gitmill, Hint, Shell

POLICY_FILE = ".gitmill/config.toml"
OWN_FOLDER = ".gitmill/"
INCLUDE = ".worktreeinclude"
MAX_ATTEMPTS = 20
MAX_RETURNS = 100
MAX_APPROVALS = 10
# Settings that people expect in the policy but that cannot be in it: the policy is read at the tip
# of the target, and a folder of one machine does not belong to the project.
_ELSEWHERE = {
    "land.target": Hint("the target is set with", Gitmill("init", "--target", Blank("BRANCH"))),
    "worktree.root": Hint(
        "worktrees are placed with", Shell("git config gitmill.worktreeRoot /some/folder")
    ),
}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _key(default: Any, meaning: str, example: Any, **rules: Any) -> Any:
    return Field(default, description=meaning, examples=[example], **rules)


class Land(_Model):
    """How approved work lands on the target."""

    auto: StrictBool = _key(True, "whether `run` lands approved work", False)


class _ShortForm(_Model):
    """A table whose short form is its command alone."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        return {"command": value} if isinstance(value, str) else value


class Check(_ShortForm):
    """A command that must exit 0; `NAME = "command"` is its short form."""

    command: Text = Field(
        description='command that must exit 0; short form: `NAME = "command"` below `[checks]`',
        examples=["python -m pytest -q"],
    )
    timeout: Seconds = _key(600, "time limit of the check", "10m")
    inputs: tuple[Path, ...] = _key(
        (),
        "files that decide its result, as in `.gitignore`; changing them needs a person's approval",
        ["tests/conftest.py"],
    )


class Fixer(_ShortForm):
    """A command that corrects what was built; `NAME = "command"` is its short form."""

    command: Text = Field(
        description="command that corrects the files of a build before its tree is taken; short "
        'form: `NAME = "command"` below `[fix]`',
        examples=["ruff format ."],
    )
    timeout: Seconds = _key(300, "time limit of the fixer", "2m")


class Worktree(_Model):
    """How a worktree is prepared for an attempt."""

    setup: tuple[Text, ...] = _key((), "commands that prepare a fresh worktree", ["npm ci"])
    lock: tuple[Text, ...] = _key(
        (), "files whose content decides whether the set-up runs again", ["requirements*.txt"]
    )
    share: tuple[Below, ...] = _key(
        (),
        "further folders of the checkout with dependencies, lent to trees that ask for the same; "
        "`.venv`, `venv`, `node_modules` and `vendor/bundle` are always considered",
        ["third_party/cache"],
    )
    shell: ShellLine = _key(
        "",
        "shell with its options for checks, criteria, set-up lines and scripts, to which the path "
        "of a script is added; without it bash, else `/bin/sh`, with `-e` and, except for scripts, "
        "`-o pipefail`",
        "zsh -e -o pipefail",
    )
    ignore: tuple[Text, ...] = _key((), "files that never become part of a change", ["*.log"])
    max_disk: Bytes = _key(
        20 * 10**9,
        "what worktrees, agents' homes and download caches of this repository may take on one "
        "machine; above it, those that are not in use are removed, the oldest first",
        "50GB",
    )
    env: Mapping[Variable, Value] = _key(
        {},
        "variables for agents and checks; `{worktree}` becomes the path of the tree under test",
        {"APP_CONFIG": "{worktree}/config/test.ini"},
    )

    def environment(self, worktree: str) -> dict[str, str]:
        """Return the configured variables for the worktree at this path."""
        return {name: value.replace("{worktree}", worktree) for name, value in self.env.items()}


class Sanity(_Model):
    """Limits for every change."""

    max_files: StrictInt = _key(200, "files in one change", 200, ge=1)
    max_lines: StrictInt = _key(5000, "lines added and removed in one change", 5000, ge=1)
    max_file_size: Bytes = _key(2 * 10**6, "largest file that a change may add", "2MB")
    protected: tuple[Text, ...] = _key(
        (".github/", ".gitlab-ci.yml", "/hooks/", "/.githooks/", "/.husky/"),
        "paths, as in `.gitignore`, whose change needs approval; `.gitmill/` is always among them",
        [".github/", "infra/"],
    )
    forbidden_lines: tuple[Regex, ...] = _key(
        tuple(FORBIDDEN_LINES.values()),
        "regular expressions that no added line may match",
        [r"\beval\("],
    )
    allow_secrets: tuple[Digest, ...] = _key(
        (),
        "digests, from findings, of values that look like secrets but are not",
        ["1a2b3c4d5e6f7a8b"],
    )


class Limits(_Model):
    """Bounds that end every loop."""

    returns: StrictInt = _key(6, "returns of one item in all", 6, ge=1, le=MAX_RETURNS)
    attempts: StrictInt = _key(
        3,
        "attempts at one stage in one round, unless the stage sets its own",
        3,
        ge=1,
        le=MAX_ATTEMPTS,
    )
    aborts: StrictInt = _key(3, "aborted landings of one item", 3, ge=1, le=100)
    wait: Seconds = _key(
        300,
        "time that a `run` waits in all for agents to cool down, if it has nothing else to do",
        "10m",
    )
    prompt: Bytes = _key(
        400_000, "longest prompt; a diff that does not fit is cut, with the cut marked", "400KB"
    )


class AttemptBudget(_Model):
    """The budget of one attempt; an attempt that exceeds it is stopped."""

    tokens: StrictInt | None = _key(None, "tokens of one attempt, in and out", 500_000, ge=1)
    cost: Money | None = _key(None, "US dollars of one attempt, as reported by its agent", 2.0)
    time: Seconds | None = _key(None, "time limit of its agent, whatever the stage sets", "1h")


class ItemBudget(_Model):
    """The budget of all attempts at one item; if used up, the item is blocked until `retry`."""

    tokens: StrictInt | None = _key(None, "tokens of all attempts at an item", 2_000_000, ge=1)
    cost: Money | None = _key(None, "US dollars of all attempts at an item", 5.0)
    attempts: StrictInt | None = _key(None, "agents' attempts at an item", 12, ge=1)
    time: Seconds | None = _key(None, "time that all attempts at an item take", "4h")


class DayBudget(_Model):
    """The budget of all attempts of one day (UTC) known to this clone; if used up, `run` ends."""

    tokens: StrictInt | None = _key(None, "tokens of all attempts of a day", 20_000_000, ge=1)
    cost: Money | None = _key(None, "US dollars of all attempts of a day", 50.0)
    attempts: StrictInt | None = _key(None, "agents' attempts in a day", 200, ge=1)
    time: Seconds | None = _key(None, "time that all attempts of a day take", "2d")


class Budget(_Model):
    """The budgets of work. Without a budget there is no bound."""

    attempt: AttemptBudget = AttemptBudget()
    item: ItemBudget = ItemBudget()
    day: DayBudget = DayBudget()


class AgentPolicy(_Model):
    """A project's settings for one agent."""

    command: tuple[Text, ...] = _key((), "program and arguments", ["prog", "arg"], min_length=1)
    timeout: Seconds | None = _key(None, "longest run, unless the stage sets it", "20m")
    idle: Seconds | None = _key(None, "longest silence, unless the stage sets it", "5m")
    permission: Permission | None = _key(
        None, "`read-only`, `workspace` or `full`, unless the stage sets it", "workspace"
    )
    model: Text | None = _key(None, "model, as named on its own command line", "sonnet")
    options: tuple[Text, ...] = _key((), "more arguments for its command line", ["--verbose"])

    @property
    def line(self) -> str:
        """The agent's command line in the policy, empty if it has none."""
        return command_line(self.command, self.options)


class Price(_Model):
    """The price of a model in US dollars per million tokens; it overrides gitmill's own list."""

    input: Dollars = Field(description="price of uncached input tokens", examples=[1.25])
    output: Dollars = Field(description="price of output tokens", examples=[10.0])
    cached: Dollars | None = _key(
        None, "price of input tokens from the cache; the default is `input`", 0.125
    )


class ModePolicy(_Model):
    """A mode of the project; one with a shipped mode's name changes that mode."""

    roles: Mapping[Name, Agents] = _key(
        {},
        "agents of a role in order of preference; the first available one is used; `*` is every "
        "other coding agent that serves the role",
        {"builder": ["claude", "codex"]},
    )
    gates: Mapping[Name, When] = _key(
        {}, "when a person is asked: `never`, `always` or `high-risk`", {"approve": "always"}
    )
    approvals: Mapping[Name, Annotated[int, Field(ge=1, le=MAX_APPROVALS)]] = _key(
        {}, "number of fresh sessions that must pass a stage", {"review": 2}
    )
    distinct_from: Mapping[Name, Names] = _key(
        {},
        "stages whose agents must not run a stage; `author` is the agent that wrote the work",
        {"review": ["author"]},
    )


class Environment(_Model):
    """The environment variables that runs may see."""

    passed: tuple[Variable, ...] = _key(
        (),
        "variables that runs may see although their names look like secrets",
        ["PYPI_TOKEN"],
        alias="pass",
    )


class Sandbox(_Model):
    """The sandbox that confines agents, scripts and checks to their worktree."""

    enforce: Enforce = _key(
        Enforce.AUTO,
        "`required` refuses to run without a sandbox, `off` runs without one",
        "required",
    )
    network: Network = _key(
        Network.ON,
        "network of scripts, checks and criteria, `on` or `off`; agents with a model always have "
        "one, unless their stage has `network: off`",
        "off",
    )


class Audit(_Model):
    """What makes the history of the state branch hard to rewrite."""

    anchor: Anchor = _key(
        Anchor.OFF,
        "when a signed tag of the state branch is made after landings: `landing` each time, `day` "
        "once a day (UTC), `off` never",
        "day",
    )


class Policy(_Model):
    """The whole policy. `checks` is None if the file has no such table."""

    mode: Name = _key("offline", "mode that items run in", "offline")
    land: Land = Land()
    checks: Mapping[Name, Check] | None = None
    fix: Mapping[Name, Fixer] = {}
    worktree: Worktree = Worktree()
    sanity: Sanity = Sanity()
    limits: Limits = Limits()
    budget: Budget = Budget()
    agents: Mapping[Name, AgentPolicy] = {}
    modes: Mapping[Name, ModePolicy] = {}
    prices: Mapping[Model, Price] = {}
    environment: Environment = Environment()
    sandbox: Sandbox = Sandbox()
    audit: Audit = Audit()

    @property
    def protected_paths(self) -> tuple[str, ...]:
        """Patterns of paths whose change needs a person's approval, as in `.gitignore`.

        gitmill's own folder and what lends files are last, so that no `!pattern` can exclude them.
        """
        inputs = [path for check in (self.checks or {}).values() for path in check.inputs]
        return (*dict.fromkeys([*self.sanity.protected, *inputs]), f"/{INCLUDE}", OWN_FOLDER)

    @property
    def shell_lines(self) -> dict[str, str]:
        """The lines that a shell runs, by the name that sentences have for each."""
        return (
            {f"check {name}": check.command for name, check in (self.checks or {}).items()}
            | {f"fixer {name}": fixer.command for name, fixer in self.fix.items()}
            | {f"set-up {n}": line for n, line in enumerate(self.worktree.setup, 1)}
        )

    @property
    def commands(self) -> dict[str, str]:
        """Every command of the policy by its key; each must be trusted on this machine."""
        checks, agents = self.checks or {}, self.agents
        return (
            {f"checks.{name}": check.command for name, check in checks.items()}
            | {f"fix.{name}": fixer.command for name, fixer in self.fix.items()}
            | {f"worktree.setup.{n}": line for n, line in enumerate(self.worktree.setup, 1)}
            | {f"agents.{name}": line for name, one in agents.items() if (line := one.line)}
            | ({"worktree.shell": self.worktree.shell} if self.worktree.shell else {})
        )


def parse_policy(text: str, *, source: str = POLICY_FILE) -> Policy:
    """Read a policy.

    Raises `BadConfigError` with file, line, key and expected value of every problem.
    """
    try:
        data = tomllib.loads(text)
        if isinstance(worktree := data.get("worktree"), dict):
            worktree.pop("keep", None)  # `obsolete` tells
        return Policy.model_validate(data)
    except tomllib.TOMLDecodeError as error:
        raise not_toml(text, source, str(error)) from None
    except ValidationError as error:
        problems = error.errors(include_url=False)
        raise explain(text, source, Policy, problems, elsewhere=_ELSEWHERE) from None


def obsolete(text: str) -> list[tuple[str, str]]:
    """Return the lines of a policy that have lost their purpose, and what to write instead.

    The text is one that `parse_policy` has accepted.
    """
    worktree = tomllib.loads(text).get("worktree", {})
    found = []
    if "keep" in worktree:
        found.append((
            "`[worktree] keep` does nothing: what a set-up makes stays for all checks of a tree",
            "remove the line; to lend a tree a folder of your checkout, write "
            f"`share = {to_toml(worktree['keep'])}`",
        ))  # fmt: skip
    if "PYTHONPATH" in worktree.get("env", {}):
        found.append((
            "`PYTHONPATH` in `[worktree] env` is not needed: the tree under test stands in the "
            "place of your checkout, where an editable install leads",
            "remove it, and install the project with `pip install -e .` in the checkout's `.venv`",
        ))  # fmt: skip
    return found


def settings_table() -> str:
    """Return the Markdown table of all keys, as the settings page must show it."""
    rows = ["| key | default | example | meaning |", "|---|---|---|---|"]
    for key, field in keys(Policy):
        example = f"`{to_toml((field.examples or [''])[0])}`"
        cells = (f"`{key}`", _default(field), example, field.description or "")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _default(field: FieldInfo) -> str:
    writers = {parse_duration: format_duration, parse_size: format_size}
    read = [getattr(rule, "func", None) for rule in field.metadata]
    written = [write(field.default) for parse, write in writers.items() if parse in read]
    if field.is_required():
        return "must be given"
    if not field.default and field.default is not False:
        return ""
    return f"`{to_toml(written[0] if written else field.default)}`"
