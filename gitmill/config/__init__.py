"""The policy `.gitmill/config.toml` as frozen models. What is not understood is an error."""

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

POLICY_FILE = ".gitmill/config.toml"
OWN_FOLDER = ".gitmill/"
MAX_ATTEMPTS = 20
MAX_RETURNS = 100
MAX_APPROVALS = 10
# What people look for here and what cannot be here: the policy is read at the tip of the target,
# and a folder of one machine is not the project's.
_ELSEWHERE = {
    "land.target": "the target is set with `gitmill init --target BRANCH`",
    "worktree.root": "worktrees are placed with `git config gitmill.worktreeRoot /some/folder`",
}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _key(default: Any, meaning: str, example: Any, **rules: Any) -> Any:
    return Field(default, description=meaning, examples=[example], **rules)


class Land(_Model):
    """How approved work comes onto the target."""

    auto: StrictBool = _key(True, "whether `run` lands what gets approved", False)


class Check(_Model):
    """A command that must exit 0; `NAME = "command"` is its short form."""

    command: Text = Field(
        description='what must exit 0; `NAME = "command"` below `[checks]` is the short form',
        examples=["python -m pytest -q"],
    )
    timeout: Seconds = _key(600, "how long it may take", "10m")
    inputs: tuple[Path, ...] = _key(
        (),
        "files that decide its result, as in `.gitignore`; their change needs a person",
        ["tests/conftest.py"],
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        return {"command": value} if isinstance(value, str) else value


class Worktree(_Model):
    """How a worktree is made ready for an attempt."""

    setup: tuple[Text, ...] = _key((), "commands that make a fresh worktree usable", ["npm ci"])
    lock: tuple[Text, ...] = _key(
        (), "files whose content decides whether the set-up runs again", ["requirements*.txt"]
    )
    keep: tuple[Text, ...] = _key(
        (), "untracked paths that stay when a worktree is used again", [".venv"]
    )
    ignore: tuple[Text, ...] = _key((), "files that never become part of a change", ["*.log"])
    env: Mapping[Variable, Value] = _key(
        {},
        "variables that agents and checks see; `{worktree}` becomes its path",
        {"PYTHONPATH": "{worktree}/src"},
    )

    def environment(self, worktree: str) -> dict[str, str]:
        """Return the configured variables for the worktree at this path."""
        return {name: value.replace("{worktree}", worktree) for name, value in self.env.items()}


class Sanity(_Model):
    """Limits that every change is held to, whatever it is about."""

    max_files: StrictInt = _key(200, "files in one change", 200, ge=1)
    max_lines: StrictInt = _key(5000, "lines added and removed in one change", 5000, ge=1)
    max_file_size: Bytes = _key(2 * 10**6, "largest file that a change may add", "2MB")
    protected: tuple[Text, ...] = _key(
        (".github/", ".gitlab-ci.yml", "/hooks/", "/.githooks/", "/.husky/"),
        "paths, as in `.gitignore`, whose change needs a person; `.gitmill/` is always one of them",
        [".github/", "infra/"],
    )
    forbidden_lines: tuple[Regex, ...] = _key(
        tuple(FORBIDDEN_LINES.values()),
        "regular expressions that no added line may match",
        [r"\beval\("],
    )
    allow_secrets: tuple[Digest, ...] = _key(
        (),
        "digests, as findings name them, of values that look like secrets and are none",
        ["1a2b3c4d5e6f7a8b"],
    )


class Limits(_Model):
    """Bounds that end every loop."""

    returns: StrictInt = _key(
        6, "how often an item may be sent back in all", 6, ge=1, le=MAX_RETURNS
    )
    attempts: StrictInt = _key(
        3,
        "attempts at one stage in one round, unless the stage sets its own",
        3,
        ge=1,
        le=MAX_ATTEMPTS,
    )
    aborts: StrictInt = _key(3, "landings of one item that may be broken off", 3, ge=1, le=100)
    wait: Seconds = _key(
        300,
        "how long a `run` waits in all for agents that cool down, when nothing else is to do",
        "10m",
    )
    prompt: Bytes = _key(
        400_000, "longest prompt; a diff that does not fit is cut, and the cut marked", "400KB"
    )


class AttemptBudget(_Model):
    """What one attempt may cost; it is ended in the middle."""

    tokens: StrictInt | None = _key(None, "tokens of one attempt, in and out", 500_000, ge=1)
    cost: Money | None = _key(None, "US dollars of one attempt, as its agent reports", 2.0)
    time: Seconds | None = _key(None, "how long its agent may take, whatever the stage sets", "1h")


class ItemBudget(_Model):
    """The budget of all attempts at one item; then it is blocked, and `retry` starts again."""

    tokens: StrictInt | None = _key(None, "tokens of all attempts at an item", 2_000_000, ge=1)
    cost: Money | None = _key(None, "US dollars of all attempts at an item", 5.0)
    attempts: StrictInt | None = _key(None, "attempts of agents at an item", 12, ge=1)
    time: Seconds | None = _key(None, "time that all attempts at an item take", "4h")


class DayBudget(_Model):
    """What all attempts of one day (UTC) may cost, as this clone knows them; then `run` ends."""

    tokens: StrictInt | None = _key(None, "tokens of all attempts of a day", 20_000_000, ge=1)
    cost: Money | None = _key(None, "US dollars of all attempts of a day", 50.0)
    attempts: StrictInt | None = _key(None, "attempts of agents in a day", 200, ge=1)
    time: Seconds | None = _key(None, "time that all attempts of a day take", "2d")


class Budget(_Model):
    """What work may cost. Without a budget nothing is bounded."""

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
    model: Text | None = _key(None, "model, as its own command line names it", "sonnet")
    options: tuple[Text, ...] = _key((), "more arguments for its command line", ["--verbose"])

    @property
    def line(self) -> str:
        """Its command line in the policy, empty if it has none."""
        return command_line(self.command, self.options)


class Price(_Model):
    """What a model costs, in US dollars per million tokens; it comes before gitmill's own list."""

    input: Dollars = Field(description="tokens read that were not cached", examples=[1.25])
    output: Dollars = Field(description="tokens written", examples=[10.0])
    cached: Dollars | None = _key(
        None, "tokens read from the cache; as `input` if not given", 0.125
    )


class ModePolicy(_Model):
    """A mode of the project; one with a shipped mode's name changes that mode."""

    roles: Mapping[Name, Names] = _key(
        {},
        "which agent serves a role; of several the first that can go",
        {"builder": ["claude", "codex"]},
    )
    gates: Mapping[Name, When] = _key(
        {}, "when a person is asked: `never`, `always` or `high-risk`", {"approve": "always"}
    )
    approvals: Mapping[Name, Annotated[int, Field(ge=1, le=MAX_APPROVALS)]] = _key(
        {}, "how many fresh sessions must pass a stage", {"review": 2}
    )
    distinct_from: Mapping[Name, Names] = _key(
        {},
        "stages whose agents must not do a stage; `author` is who wrote the work",
        {"review": ["author"]},
    )


class Environment(_Model):
    """What runs may see of the environment."""

    passed: tuple[Variable, ...] = _key(
        (),
        "variables that runs may see although their name looks like a secret",
        ["PYPI_TOKEN"],
        alias="pass",
    )


class Sandbox(_Model):
    """What holds agents, scripts and checks within their worktree."""

    enforce: Enforce = _key(
        Enforce.AUTO,
        "`required` refuses to run without one, `off` does without",
        "required",
    )
    network: Network = _key(
        Network.ON,
        "of scripts, checks and criteria: `on` or `off`; agents with a model always have one, "
        "unless their stage has `network: off`",
        "off",
    )


class Policy(_Model):
    """The whole policy. `checks` is None when the file has no such table."""

    mode: Name = _key("offline", "mode that items run in", "offline")
    land: Land = Land()
    checks: Mapping[Name, Check] | None = None
    worktree: Worktree = Worktree()
    sanity: Sanity = Sanity()
    limits: Limits = Limits()
    budget: Budget = Budget()
    agents: Mapping[Name, AgentPolicy] = {}
    modes: Mapping[Name, ModePolicy] = {}
    prices: Mapping[Model, Price] = {}
    environment: Environment = Environment()
    sandbox: Sandbox = Sandbox()

    @property
    def protected_paths(self) -> tuple[str, ...]:
        """Patterns of paths whose change needs a person, in the syntax of `.gitignore`.

        gitmill's own folder is the last one, so that no `!pattern` before it takes it out.
        """
        inputs = [path for check in (self.checks or {}).values() for path in check.inputs]
        return (*dict.fromkeys([*self.sanity.protected, *inputs]), OWN_FOLDER)

    @property
    def commands(self) -> dict[str, str]:
        """Every command that the policy names, by its key: a machine has to trust each of them."""
        checks, agents = self.checks or {}, self.agents
        return (
            {f"checks.{name}": check.command for name, check in checks.items()}
            | {f"worktree.setup.{n}": line for n, line in enumerate(self.worktree.setup, 1)}
            | {f"agents.{name}": line for name, one in agents.items() if (line := one.line)}
        )


def parse_policy(text: str, *, source: str = POLICY_FILE) -> Policy:
    """Read a policy.

    Raises `BadConfigError` naming file, line, key and what was expected, for all that is wrong.
    """
    try:
        return Policy.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise not_toml(text, source, str(error)) from None
    except ValidationError as error:
        problems = error.errors(include_url=False)
        raise explain(text, source, Policy, problems, elsewhere=_ELSEWHERE) from None


def settings_table() -> str:
    """Return the Markdown table of all keys, which the page of the settings has to show."""
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
