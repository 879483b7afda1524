"""The server: which scenario, which step, in which dialect; faults; a log of what was asked."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any, Self

from tests.support.model import anthropic, chat, gemini, responses
from tests.support.model.asked import Asked, Tokens
from tests.support.model.steps import Drop, Fault, Hang, Raw, Say, Status, Step

_DIALECTS: tuple[ModuleType, ...] = (anthropic, responses, chat, gemini)
# A whole turn, or a function of what is asked that returns one.
Turn = Sequence[Step] | Callable[[Asked], Sequence[Step]]


@dataclass(frozen=True)
class Seen:
    """A request as it came; `side` is one that belongs to no conversation, like a title."""

    scenario: str
    path: str
    headers: Mapping[str, str]
    body: Any
    asked: Asked | None
    side: bool


@dataclass
class _Scenario:
    turns: Sequence[Turn]
    tokens: Tokens
    served: Counter[int] = field(default_factory=Counter)


class Model:
    """A model server on loopback. `seen` are all requests in the order in which they came."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._scenarios: dict[str, _Scenario] = {}
        self._lock = threading.Lock()
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"model": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def play(self, *turns: Turn, tokens: Tokens | None = None, name: str = "") -> str:
        """Return the base URL of a new scenario; the last turn is played for all further ones."""
        with self._lock:
            name = name or f"s{len(self._scenarios) + 1}"
            self._scenarios[name] = _Scenario(turns, tokens or Tokens())
        return f"http://127.0.0.1:{self._server.server_port}/s/{name}"

    def asked(self, url: str) -> list[Seen]:
        """Return the requests to a scenario, but for side requests."""
        name = url.rpartition("/s/")[2]
        return [one for one in self.seen if one.scenario == name and not one.side]

    def step(self, name: str, asked: Asked) -> tuple[Step, Tokens]:
        """Return the step that answers a request; behind the last one there is only a word."""
        scenario = self._scenarios[name]
        turn = scenario.turns[min(asked.turn, len(scenario.turns) - 1)]
        done = 0
        with self._lock:
            for place, step in enumerate(turn(asked) if callable(turn) else turn):
                if not isinstance(step, Fault):
                    if done == len(asked.results):
                        return step, scenario.tokens
                    done += 1
                elif done == len(asked.results):
                    key = asked.turn * 1000 + place
                    scenario.served[key] += 1
                    if not step.times or scenario.served[key] <= step.times:
                        return step, scenario.tokens
        return Say("Done."), scenario.tokens

    def has(self, name: str) -> bool:
        """Whether there is such a scenario."""
        return name in self._scenarios

    def remember(self, seen: Seen) -> None:
        """Add to the log."""
        with self._lock:
            self.seen.append(seen)


class _Handler(BaseHTTPRequestHandler):
    model: Model
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._whole(200, "")

    def do_GET(self) -> None:
        self._whole(404, '{"error": {"message": "there is nothing here"}}')

    def do_POST(self) -> None:
        with suppress(ConnectionError, TimeoutError):
            self._post()

    def _post(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        name, _, rest = self.path.partition("/s/")[2].partition("/")
        path = "/" + rest
        dialect = next((one for one in _DIALECTS if one.PATH.search(path)), None)
        if dialect is None or not self.model.has(name):
            self.model.remember(Seen(name, path, dict(self.headers), raw, None, side=True))
            self._whole(404, '{"error": {"message": "there is nothing here"}}')
            return
        body = json.loads(raw)
        asked: Asked = dialect.read(path, body)
        side = not asked.tools
        self.model.remember(Seen(name, path, dict(self.headers), body, asked, side))
        if side:
            self._answer(dialect, path, body, asked, Say("A title"), Tokens(1, 1))
        else:
            self._answer(dialect, path, body, asked, *self.model.step(name, asked))

    def _answer(
        self, dialect: ModuleType, path: str, body: Any, asked: Asked, step: Step, tokens: Tokens
    ) -> None:
        if isinstance(step, Status):
            said = step.body or json.dumps(dialect.error(step.code, step.message))
            self._whole(step.code, said, headers=step.headers)
        elif isinstance(step, Raw):
            self._whole(200, step.body, step.kind)
        elif isinstance(step, Hang):
            if step.headers:
                self._begin()
            self.model.closing.wait(300)
            self.close_connection = True
        elif isinstance(step, Drop):
            events = list(dialect.stream(Say("So far, so").act(asked), asked, tokens))
            self._begin()
            self._chunk("".join(events[: max(1, len(events) // 2)]))
            self.close_connection = True
        elif dialect.streams(path, body):
            self._stream(dialect.stream(step.act(asked), asked, tokens))
        else:
            self._whole(200, json.dumps(dialect.whole(step.act(asked), asked, tokens)))

    def _stream(self, events: Iterator[str]) -> None:
        self._begin()
        for event in events:
            self._chunk(event)
        self.wfile.write(b"0\r\n\r\n")

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()

    def _chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _whole(
        self,
        status: int,
        said: str,
        kind: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        data = said.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
