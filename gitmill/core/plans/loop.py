"""Loops: a folder with one file per stage, in order, read from the text of those files.

`loop.md` names the kind of item that the loop serves. `NN-name.md` is a stage: front matter and,
for agents, a prompt. A number from 80 on makes a side stage, which is reached only through `on:`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from gitmill.config import MAX_ATTEMPTS, MAX_RETURNS
from gitmill.config.problems import nearest
from gitmill.config.values import Network, Seconds, Text, When
from gitmill.core.front_matter import Handwritten, read_handwritten
from gitmill.core.ids import Kind
from gitmill.core.plans.plan import ENDS, Performer
from gitmill.core.plans.stage_type import StageType, StageTypes
from gitmill.core.product import Product
from gitmill.errors import BadDocumentError
from gitmill.hints import Hint

SIDE = 80
LOOP_FILE = "loop.md"
_STAGE_FILE = re.compile(r"([0-9]{2})-([a-z][a-z0-9-]{0,39})\.md")


@dataclass(frozen=True)
class Stage:
    """A stage as written in its file. Omitted keys are None until the loop is compiled.

    `settings` are the keys that only its type has, in the form that a frozen plan stores. `role`,
    `permission` and `on` stay as written, because only compiling can check them. A mode
    without an agent for the role of an `optional` side stage omits the stage.
    """

    name: str
    number: int
    path: str
    type: str
    role: str = ""
    permission: str | None = None
    timeout: int | None = None
    idle: int | None = None
    attempts: int | None = None
    approvals: int = 1
    distinct_from: tuple[str, ...] = ()
    on: Mapping[str, str] = field(default_factory=dict)
    when: When | None = None
    optional: bool = False
    network: Network | None = None
    produces: Product | None = None
    prompt: str = ""
    prompt_line: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def is_side(self) -> bool:
        """Whether the stage is reached only through `on:`."""
        return self.number >= SIDE

    def where(self, *key: str) -> str:
        """Return the file and line of a key, for an error about it."""
        lines = (self.lines.get(key[:length]) for length in range(len(key), 0, -1))
        return f"{self.path}:{next((line for line in lines if line), 1)}"


@dataclass(frozen=True)
class Loop:
    """A loop, with its stages in the order of their files."""

    name: str
    path: str
    serves: Kind
    stages: tuple[Stage, ...]
    limits: Mapping[str, int] = field(default_factory=dict)

    @property
    def main(self) -> tuple[Stage, ...]:
        """The stages of the main path, without side stages."""
        return tuple(stage for stage in self.stages if not stage.is_side)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _LoopLimits(_Strict):
    returns: int | None = Field(None, ge=1, le=MAX_RETURNS)
    attempts: int | None = Field(None, ge=1, le=MAX_ATTEMPTS)


class _LoopDocument(_Strict):
    serves: Kind = Field(examples=["task"])
    limits: _LoopLimits = _LoopLimits(returns=None, attempts=None)


class _Typed(BaseModel):
    """The one key that a stage of every type has; other keys are not read."""

    type: Text = Field(examples=["agent"])


class _StageDocument(_Strict):
    type: Text
    role: Text = Field("", examples=["reviewer"])
    permission: Text | None = Field(None, examples=["read-only"])
    timeout: Seconds | None = Field(None, examples=["20m"])
    idle: Seconds | None = Field(None, examples=["5m"])
    attempts: int | None = Field(None, examples=["3"])
    approvals: int = Field(1, examples=["2"])
    distinct_from: Annotated[tuple[Text, ...], BeforeValidator(_listed)] = Field(
        (), examples=["build"]
    )
    on: Mapping[Text, Text] = Field({}, examples=["{return: build}"])
    when: When | None = Field(None, examples=["high-risk"])
    optional: bool = Field(default=False, examples=["true"])
    network: Network | None = Field(None, examples=["off"])
    produces: Product | None = Field(None, examples=["document"])


def merge_folders(shipped: Mapping[str, str], project: Mapping[str, str]) -> dict[str, str]:
    """Return the shipped folder with a project's stages replaced or added.

    The stage's name decides, not its number: `45-review.md` replaces and moves `40-review.md`.
    """
    names = {_stage_name(file) for file in project}
    remaining = {file: text for file, text in shipped.items() if _stage_name(file) not in names}
    return remaining | dict(project)


def _stage_name(file: str) -> str:
    match = _STAGE_FILE.fullmatch(file)
    return match[2] if match else file


def read_loop(
    name: str, files: Mapping[str, str], types: StageTypes, *, folder: str | None = None
) -> Loop:
    """Read a loop from the files of its folder, name to text; `README.md` is ignored.

    Raises `BadDocumentError` with file, line, key and the expected value.
    """
    folder = folder or f"loops/{name}"
    if LOOP_FILE not in files:
        hint = Hint("it begins with `---`, `serves: task`, `---`")
        raise BadDocumentError(f"{folder}/{LOOP_FILE} is missing", hints=[hint])
    path = f"{folder}/{LOOP_FILE}"
    loop = read_handwritten(path, files[LOOP_FILE]).read(_LoopDocument)
    stages: dict[str, Stage] = {}
    for file in sorted(set(files) - {LOOP_FILE, "README.md"}):
        stage = _read_stage(folder, file, files[file], types)
        if stage.name in stages:
            other = stages[stage.name].path
            raise BadDocumentError(f"{stage.path}: {other} already is the stage {stage.name}")
        stages[stage.name] = stage
    limits = loop.limits.model_dump(exclude_none=True)
    return Loop(name, path, loop.serves, tuple(stages.values()), limits)


def _read_stage(folder: str, file: str, text: str, types: StageTypes) -> Stage:
    path, match = f"{folder}/{file}", _STAGE_FILE.fullmatch(file)
    if not match:
        what = f"{path}: the file name of a stage must be NN-name.md"
        raise BadDocumentError(what, hints=[Hint("for example `35-security.md`")])
    if match[2] in ENDS:
        raise BadDocumentError(f"{path}: {match[2]} is an end of every loop, not a stage")
    written = read_handwritten(path, text)
    kind = _type_of(written, types)
    document = written.read(_document_of(kind))
    _check_keys(written, document.type, kind)
    return Stage(
        name=match[2],
        number=int(match[1]),
        path=path,
        prompt=written.body if kind.performer is Performer.AGENT else "",
        prompt_line=written.body_line,
        settings=_settings(document),
        lines=written.lines,
        **{key: getattr(document, key) for key in _StageDocument.model_fields},
    )


def _type_of(written: Handwritten, types: StageTypes) -> StageType:
    """Return the type that the file names, or refuse the file."""
    name = written.read(_Typed).type
    if name not in types:
        what = f'type must be one of {", ".join(types)}, not "{name}"'
        raise written.error(written.line("type"), what, "for example `type: agent`")
    return types[name]


def _document_of(kind: StageType) -> type[_StageDocument]:
    """Return the model of the front matter, with the keys that only this type has."""
    if kind.settings is None:
        return _StageDocument
    bases: tuple[type[Any], ...] = (_StageDocument, kind.settings)
    return create_model("_StageDocument", __base__=bases)


def _settings(document: _StageDocument) -> dict[str, Any]:
    shared = set(_StageDocument.model_fields)
    return document.model_dump(mode="json", exclude=shared, exclude_none=True)


def _check_keys(written: Handwritten, name: str, kind: StageType) -> None:
    """Refuse keys that stages of this type do not have, because they would have no effect."""
    own = kind.settings.model_fields if kind.settings else ()
    allowed = sorted({*kind.keys, *own, "on"})
    for key in written.fields:
        if key != "type" and key not in allowed:
            close = nearest(key, allowed)
            hint = f"did you mean `{close}`?" if close else f"it has {', '.join(allowed)}"
            raise written.error(written.line(key), f"a stage of type {name} has no key {key}", hint)
    if kind.performer is Performer.AGENT and "role" not in written.fields:
        raise written.error(1, "the key role is missing", "for example `role: reviewer`")
    if kind.performer is Performer.AGENT and not written.body:
        what = f"a stage of type {name} needs a prompt"
        raise written.error(written.body_line, what, "write it below the second `---`")
