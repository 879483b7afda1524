"""The message of a state commit: a subject for people, and the event as trailers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gitmill.core.shown_text import visible

_LINE = re.compile(r"^(Gitmill-[A-Za-z-]+): (.*)$")
_VERSION = re.compile(r"[1-9][0-9]{0,3}")
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event, from the trailers of its commit; without an item it concerns the whole branch."""

    event: str
    id: str
    item: str = ""
    after: str = ""
    status_before: str = ""  # Gitmill-From
    to: str = ""
    stage: str = ""
    by: str = ""
    claim: str = ""
    plan: str = ""
    evidence: str = ""
    target: str = ""  # the target's commit whose policy the event read
    rules: str = ""  # the version of the rules that the event follows, empty for 1
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """The version of the rules that the event follows, 0 for a value that is none."""
        named = self.rules or "1"
        return int(named) if _VERSION.fullmatch(named) else 0


_NAMES = {
    "item": "Gitmill-Item",
    "event": "Gitmill-Event",
    "id": "Gitmill-Id",
    "after": "Gitmill-After",
    "status_before": "Gitmill-From",
    "to": "Gitmill-To",
    "stage": "Gitmill-Stage",
    "by": "Gitmill-By",
    "claim": "Gitmill-Claim",
    "plan": "Gitmill-Plan",
    "evidence": "Gitmill-Evidence",
    "target": "Gitmill-Target",
    "rules": "Gitmill-Rules",
}
_FIELDS = {name: attribute for attribute, name in _NAMES.items()}


def one_line(text: str, limit: int = 200) -> str:
    """Return a text as one line of visible characters, cut at `limit` characters."""
    flat = visible(_BREAKS.sub(" ", text)).strip()
    return flat if len(flat) <= limit else flat[: limit - 1].rstrip() + "…"


def format_message(subject: str, record: EventRecord) -> str:
    """Return the whole commit message. Values become one line, so no value can forge a trailer."""
    lines = [
        f"{name}: {one_line(value)}"
        for attribute, name in _NAMES.items()
        if (value := getattr(record, attribute))
    ]
    lines += [f"Gitmill-{key}: {one_line(value)}" for key, value in record.extra.items()]
    return f"{one_line(subject, 100)}\n\n" + "\n".join(lines) + "\n"


def parse_message(message: str) -> tuple[str, EventRecord | None]:
    """Return the subject and the event, None if the last paragraph has no event."""
    subject, _, _ = message.partition("\n")
    values: dict[str, str] = {}
    extra: dict[str, str] = {}
    for line in message.rstrip("\n").rpartition("\n\n")[2].splitlines():
        if match := _LINE.match(line):
            if match[1] in _FIELDS:
                values[_FIELDS[match[1]]] = match[2]
            else:
                extra[match[1].removeprefix("Gitmill-")] = match[2]
    if "event" not in values or "id" not in values:
        return subject, None
    return subject, EventRecord(**values, extra=extra)
