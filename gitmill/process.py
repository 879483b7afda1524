"""Start processes. Only the supervisor, itself started here, starts others."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gitmill.errors import ProcessFailedError
from gitmill.failpoints import chokepoint
from gitmill.hints import Gitmill, Hint, Shell

# Names of variables whose values are secrets. Processes that run an agent's code get none of them
# unless the policy passes one on by name, and their values are redacted from records.
SECRET_NAME = re.compile(
    r"(SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|PRIVATE_KEY|API_?KEY|ACCESS_KEY|_AUTH$)",
    re.IGNORECASE,
)


TimeoutExpired = subprocess.TimeoutExpired
_GRACE = 2.0  # seconds between SIGTERM and SIGKILL


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that has ended: exit status (negative: signal) and both outputs as bytes."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are not UTF-8 survive a round trip."""
        return self.stdout.decode("utf-8", "surrogateescape")

    @property
    def error(self) -> str:
        """Standard error for a person to read."""
        return self.stderr.decode("utf-8", "replace").strip()


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    check: bool = True,
    timeout: float | None = None,
    pass_fds: Sequence[int] = (),
) -> Finished:
    """Run a process to its end and collect both outputs.

    It runs in its own session: Ctrl-C in the terminal reaches gitmill but not the process. With
    `check` an exit status other than 0 raises `ProcessFailedError`; so does a machine without a
    process, memory or descriptor left. Raises `FileNotFoundError` if the program does not exist,
    and `TimeoutExpired` after `timeout` seconds, with the whole session ended.
    """
    with (
        _resources(argv),
        chokepoint(f"run {' '.join(argv)}"),
        subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            start_new_session=True,
        ) as child,
    ):
        try:
            stdout, stderr = child.communicate(stdin, timeout=timeout)
        except TimeoutExpired:
            _end_session(child)
            raise
        except BaseException:
            child.kill()
            raise
    finished = Finished(tuple(argv), child.returncode, stdout, stderr)
    if check:
        _require_success(finished)
    return finished


def _end_session(leader: subprocess.Popen[bytes]) -> None:
    """End a process and those that it has started: first politely, so that git drops its locks."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(leader.pid, signal.SIGTERM)
        leader.wait(_GRACE)
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)


@contextmanager
def _resources(argv: Sequence[str]) -> Iterator[None]:
    """Turn a lack of processes, memory or descriptors into an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            raise
        raise ProcessFailedError(
            f"`{argv[0]}` cannot be started: {(error.strerror or 'refused').lower()}",
            hints=[
                Hint("see the limits with", Shell("ulimit -a")),
                Hint("then continue with", Gitmill("run")),
            ],
        ) from error


def _require_success(finished: Finished) -> None:
    if finished.returncode != 0:
        raise ProcessFailedError(
            f"`{' '.join(finished.argv[:4])}` exited {finished.returncode}",
            evidence=finished.error.splitlines()[-6:],
        )


def start(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stderr: int = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a process in its own session, with pipes for its standard input and output."""
    with _resources(argv), chokepoint(f"start {argv[0]}"):
        return subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            pass_fds=pass_fds,
            start_new_session=True,
        )


@contextmanager
def attached(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    terminal: int | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process in its own session that uses this one's inputs and outputs, or a `terminal`.

    The session ends with the context.
    """
    with _resources(argv), chokepoint(f"start {argv[0]}"):
        child = subprocess.Popen(
            argv, cwd=cwd, env=env, stdin=terminal, stdout=terminal, stderr=terminal,
            pass_fds=pass_fds, start_new_session=True,
        )  # fmt: skip
    try:
        yield child
    finally:
        if child.poll() is None:
            _end_session(child)
            child.wait()


def scrubbed(extra: Mapping[str, str], *, keep: Sequence[str] = ()) -> dict[str, str]:
    """Return the environment for other people's code: no `GIT_*`, no secrets except `keep`."""
    base = {
        name: value
        for name, value in os.environ.items()
        if name in keep or not (name.startswith(("GIT_", "GITMILL_")) or SECRET_NAME.search(name))
    }
    return base | dict(extra)


def secrets() -> tuple[str, ...]:
    """Return the values of secret variables; values short enough to be words are omitted."""
    return tuple(
        value for name, value in os.environ.items() if SECRET_NAME.search(name) and len(value) >= 8
    )


@dataclass(frozen=True, slots=True)
class Command:
    """A command for the supervisor: its argv, input, working directory and limits in seconds.

    `env` is the whole environment. At a limit or a cancel the supervisor sends SIGINT, waits
    `grace` seconds, then sends SIGKILL. It appends both outputs to the file `transcript` as they
    arrive, size-capped. `watch` receives each line of standard output without its line end, and
    ends the command by returning a reason; it does not receive lines of more than 16 MiB.
    `access` limits what the command may do to its worktree: `read-only`, `workspace`, or `full`
    for no limit. With `sandboxed`, `argv` already includes the sandbox.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    stdin: bytes = b""
    wall: float = 1200.0
    idle: float = 600.0
    grace: float = 2.0
    transcript: Path | None = None
    watch: Callable[[bytes], str] | None = None
    access: str = "workspace"
    sandboxed: bool = False


def home() -> Path:
    """Return the user's home directory."""
    return Path(os.environ.get("HOME") or "~").expanduser()


def ending(ended: str, status: int) -> str:
    """Return how a command ended, for a sentence: `exited 3`, or `timed-out` and the like."""
    return f"exited {status}" if ended == "exited" else ended


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a supervised command.

    `ended` is `exited`, `timed-out` (wall), `idle` (no output), `cancelled`, `stopped` (by its
    `watch`, whose reason is `why`), `unstartable` (the reason is in `stderr`) or `lost` (the
    supervisor itself was killed or failed; nothing is known).
    `status` is the exit status (negative, or above 128 in a sandbox: a signal); it is meaningful
    only with `exited`.
    `stdout` and `stderr` hold the first and last bytes; `cut` counts the omitted ones, and a line
    marks the gap.
    """

    ended: str
    status: int
    stdout: bytes
    stderr: bytes
    seconds: float
    cut: int = 0
    why: str = ""

    @property
    def passed(self) -> bool:
        """Whether the command exited with status 0."""
        return self.ended == "exited" and self.status == 0

    def tail(self, lines: int = 40) -> str:
        """Return the last lines of both outputs as text for a run log."""
        both = b"\n".join(part.rstrip() for part in (self.stdout, self.stderr) if part.strip())
        return "\n".join(both.decode("utf-8", "replace").splitlines()[-lines:])
