"""A model server of the tests' own: the agent CLIs talk to it as to their vendors' services.

    with Model() as model:
        url = model.play([Write("a.txt", "hello"), Answer("pass", "made a.txt")])

`url` is the base URL of one scenario. A scenario is a list of turns, one for each message that a
person (gitmill) sends in a session; a turn is a list of steps, one for each answer of the model.
Which turn and step it is follows from the request alone: messages of a person, tool results since
the last one. So retries and resumed sessions get what they should, in any order.

One file per dialect: `anthropic`, `responses`, `chat`, `gemini`.
"""

from tests.support.model.asked import Asked, Tokens
from tests.support.model.server import Model, Seen
from tests.support.model.steps import (
    Answer,
    Call,
    Drop,
    Hang,
    Raw,
    Read,
    Say,
    Shell,
    Status,
    Write,
)

__all__ = [
    "Answer", "Asked", "Call", "Drop", "Hang", "Model", "Raw", "Read", "Say", "Seen", "Shell",
    "Status", "Tokens", "Write",
]  # fmt: skip
