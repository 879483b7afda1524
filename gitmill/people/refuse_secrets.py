"""Refuse a secret in what a person types, before anything is written.

Agents' text is redacted without a word. A person can say it in another way, and a text with a hole
would not be what they meant.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from gitmill.core.redaction import Secret
from gitmill.errors import HoldsSecretError
from gitmill.hints import Gitmill, Hint
from gitmill.mill import Mill
from gitmill.process import SECRET_NAME
from gitmill.store.secret_search import search
from gitmill.workspace.secret_scan import without_allowed


def refuse_secrets(mill: Mill, typed: Mapping[str, object]) -> None:
    """Raise `HoldsSecretError` if a typed text, or one in a list of them, holds a secret.

    `typed` has the texts by the name under which the error lists them; other values are ignored.
    """
    texts = [(name, text) for name, value in typed.items() for text in _texts(value)]
    found = [(name, s) for name, text in texts for s in without_allowed(mill, search(text))]
    if found:
        evidence = dict.fromkeys(f"{name} {secret.described}" for name, secret in found)
        raise HoldsSecretError(
            "what you typed holds a secret, so nothing was written",
            evidence=list(evidence),
            hints=_hints([secret for _, secret in found]),
        )


FALSE_ALARM = Hint(
    "if it is not a secret, add its digest to `[sanity] allow_secrets` on the target; see",
    Gitmill("explain", "holds-secret"),
)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Sequence):
        yield from (text for text in value if isinstance(text, str))


def _hints(secrets: Sequence[Secret]) -> list[Hint]:
    ways = dict.fromkeys(_way_out(secret) for secret in secrets)
    return [*ways, *([] if all(secret.guessable for secret in secrets) else [FALSE_ALARM])]


def _way_out(secret: Secret) -> Hint:
    name = _variable(secret.value) if secret.guessable else "NAME"
    return Hint(
        f'write ${name} instead, which a command gets with [environment] pass = ["{name}"] in the '
        "policy:",
        Gitmill("explain", "holds-secret"),
    )


def _variable(value: str) -> str:
    """Return the secret variable with a value, `NAME` if the value is spelled otherwise."""
    names = (name for name, known in os.environ.items() if known == value)
    return next((name for name in names if SECRET_NAME.search(name)), "NAME")
