"""What programs write a text into: six kinds of files and output, each with its own escapes."""

from __future__ import annotations

import base64
import difflib
import html
import json
import re
from functools import lru_cache
from urllib.parse import quote

import yaml

GREEN, PLAIN = "\x1b[0;32m", "\x1b[0m"


def notebook(text: str) -> str:
    """A notebook that printed the text, got an error with it, and shows it as HTML."""
    outputs = [
        {"name": "stdout", "output_type": "stream", "text": f"loaded\n{text}\ndone\n"},
        {"ename": "E", "evalue": "", "output_type": "error", "traceback": [GREEN + text + PLAIN]},
        {"data": {"text/html": f"<b>&#8594;{html.escape(text)}</b>"}, "metadata": {},
         "output_type": "display_data"},
    ]  # fmt: skip
    cell = {"cell_type": "code", "execution_count": 1, "metadata": {}, "source": ["load()\n"]}
    return json.dumps({"cells": [cell | {"outputs": outputs}], "nbformat": 4}, indent=1) + "\n"


def cassette(text: str) -> str:
    """Requests and responses as they are recorded for tests, one of them with a binary body."""
    body = json.dumps({"message": f"used\n{text}\n"})
    calls = [
        {"request": {"uri": f"https://api.corp.net/?q=a%20{quote(text, safe='')}", "body": None},
         "response": {"body": {"string": body}}},
        {"request": {"uri": "https://api.corp.net/", "body": f"see:\t{text}\n".encode()},
         "response": {"body": {"base64_string": base64.b64encode(body.encode()).decode()}}},
    ]  # fmt: skip
    return yaml.safe_dump({"interactions": calls, "version": 1})


def fixture(text: str) -> str:
    """Output of a program that a test expects, as JSON in JSON, for PHP with escaped slashes."""
    inner = json.dumps({"event": "said", "text": f"one\n{text}"}).replace("/", "\\/")
    return json.dumps({"lines": [inner, f"\u2192{text}"], "ok": True}) + "\n"


def log(text: str) -> str:
    """A log with colours, and with the text in a line of JSON."""
    line = json.dumps({"level": "info", "msg": f"{GREEN}{text}{PLAIN}\n"})
    return f"12:00:01 {GREEN}INFO{PLAIN} start\n{GREEN}{text}{PLAIN}\n12:00:02 {line}\n"


def diff(text: str) -> str:
    """A diff with colours, as git prints it, of a file of JSON."""
    old, new = ({"text": f"a\n{word}"} for word in ("b", text))
    lines = difflib.unified_diff(
        json.dumps(old).splitlines(), [json.dumps(new), *text.splitlines()], "a/x", "b/x",
        lineterm="",
    )  # fmt: skip
    return "".join(f"{GREEN}{line}\x1b[m\n" for line in lines)


def terminal(text: str) -> str:
    """Output for a terminal: a link, a title, and the match of a search within the text."""
    half = len(text) // 2
    link = f"\x1b]8;;https://corp.net\x1b\\{text}\x1b]8;;\x1b\\"
    return (
        f"\x1b]0;sh\x07{link}\r\n\x1b(B{text[:half]}\x1b[01;31m{text[half:]}\x1b[K\x1b(B\x1b[m\r\n"
    )


CARRIERS = {
    "notebook": notebook, "cassette": cassette, "fixture": fixture, "log": log, "diff": diff,
    "terminal": terminal,
}  # fmt: skip
_WORDS = re.compile(r"[A-Za-z0-9+/=_.-]{16,}")
_CODES = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z]|\][^\x07\x1b]*(?:\x07|\x1b\\)|\([A-Z])")


def parts_in(text: str, value: str) -> list[str]:
    """Return the long words of a value that a text has, in any of the escapes of this file."""
    words = _WORDS.findall(value.replace("\\n", "\n"))
    read = _all_of(text)
    return [word for word in words if word in read]


@lru_cache(maxsize=1)
def _all_of(text: str) -> str:
    return _read(text)


def _read(text: str, depth: int = 0) -> str:
    """Return a text and all that its carrier has in it, one after the other."""
    texts = [text, _CODES.sub("", text), re.sub(r"%(..)", _byte, text), html.unescape(text),
             text.replace("\\/", "/"), text.replace("\\n", "\n"), text.replace("\\u001b", "\x1b")]  # fmt: skip
    for token in re.findall(r"[A-Za-z0-9+/\s]{24,}={0,2}", text):
        try:
            texts.append(base64.b64decode("".join(token.split()), validate=True).decode())
        except ValueError:
            continue
    if depth < 3:
        texts += [_read(each, depth + 1) for each in texts[1:] if each != text]
    return "\n".join(texts)


def _byte(match: re.Match[str]) -> str:
    try:
        return bytes.fromhex(match[1]).decode("latin-1")
    except ValueError:
        return match[0]
