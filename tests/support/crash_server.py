"""Runs gitmill commands in forked children, so that each costs no imports.

One JSON object on a line of standard input says what to run, one number on a line of standard
output how it ended: exit status, or the negative number of the signal. With `lifetime` the child is
killed after so many seconds; with `interrupt` it gets a Ctrl-C at that failpoint and does not die;
with `room` no file that it or a child of its writes may grow beyond so many bytes. With `beside` it
gets a session of its own and the answer is its process id at once; `{"poll": PID}` then asks how it
ended, `null` while it runs.
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import resource
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import gitmill
from gitmill import failpoints


def serve() -> None:
    for module in pkgutil.walk_packages(gitmill.__path__, "gitmill."):
        if not module.name.endswith(".__main__"):
            import_module(module.name)
    warm()
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def answer(wanted: dict[str, Any]) -> int | None:
    if "poll" in wanted:
        return ended(wanted["poll"], os.WNOHANG)
    if "beside" in wanted:
        return begin(wanted)
    pid = os.fork()
    if pid == 0:
        become(wanted)
    if "lifetime" in wanted:
        time.sleep(wanted["lifetime"])
        os.kill(pid, signal.SIGKILL)
    return ended(pid)


def begin(wanted: dict[str, Any]) -> int:
    """Return the process id of a child once its session is there: its group can be signalled."""
    hear, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.close(hear)
        os.close(tell)
        become(wanted)
    os.close(tell)
    os.read(hear, 1)
    os.close(hear)
    return pid


def ended(pid: int, options: int = 0) -> int | None:
    done, status = os.waitpid(pid, options)
    return os.waitstatus_to_exitcode(status) if done else None


def warm() -> None:
    """Do once what nearly every command does and what always has the same result.

    That is half of a short run, and no outside effect: failpoints have the same numbers without.
    """
    import dulwich.ignore  # noqa: F401  (imported late, like what is below)
    import typer

    from gitmill.cli.dispatch import NOUNS, VERBS
    from gitmill.core.plans.prompt import environment
    from gitmill.store import secret_search
    from gitmill.supervision import bubblewrap

    # The sandbox of this machine, as the tests' wrapper and without it.
    os.environ["TESTS_BUBBLEWRAP"] = bubblewrap.find(layers=Path(tempfile.gettempdir())).program
    bubblewrap._find = cache(bubblewrap._find)
    for wanted in (str(Path(__file__).with_name("bwrap")), ""):
        bubblewrap.find(wanted, Path(tempfile.gettempdir()))
    secret_search._scanner()
    environment().compile = cache(environment().compile)  # the prompts of the shipped loops
    compile_shipped()
    typer.main.get_command = cache(typer.main.get_command)
    for module, app in [*((NOUNS[noun], noun) for noun in NOUNS),
                        *((module, "verbs") for module in VERBS.values())]:  # fmt: skip
        typer.main.get_command(getattr(import_module(f"gitmill.cli.{module}"), app))


def compile_shipped() -> None:
    """Compile the shipped loops as for a repository without a policy; gitmill keeps the result."""
    from gitmill.attempts.stage_types import all_types
    from gitmill.mill import Mill
    from gitmill.plans.frozen import compile_at

    with tempfile.TemporaryDirectory(prefix="gitmill-warm-") as place:
        git = ("git", "-c", "user.name=A", "-c", "user.email=a@b", "-C", place)
        subprocess.run([*git, "init", "-q"], check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
        done = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True)
        compile_at(Mill.open(Path(place)), done.stdout.decode().strip(), all_types())


def become(wanted: dict[str, Any]) -> NoReturn:
    """Turn this process into one that runs a command line of gitmill."""
    from gitmill.cli.main import main

    if "interrupt" in wanted:
        failpoints._die_if = interrupt_if
        wanted["env"][failpoints.VARIABLE] = wanted["interrupt"]
    if "room" in wanted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (wanted["room"], wanted["room"]))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(wanted["env"])
    os.chdir(wanted["cwd"])
    for name, number in ((os.devnull, 0), (wanted["out"], 1), (wanted["err"], 2)):
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        os.dup2(os.open(name, flags, 0o644), number)
    code = main(wanted["argv"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def interrupt_if(wanted: str, here: str, what: str) -> None:
    if wanted == here:
        sys.stderr.write(f"interrupt {here} {what}\n")
        os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    serve()
