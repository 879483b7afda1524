"""The only place that starts a process, but for the supervisor, which is one of them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gitmill.errors import ProcessFailedError
from gitmill.failpoints import chokepoint

# Names of variables whose values are secrets. What runs an agent's code gets none of them
# unless the policy passes one on by name, and their values are redacted from records.
SECRET_NAME = re.compile(
    r"(SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|PRIVATE_KEY|API_?KEY|ACCESS_KEY|_AUTH$)",
    re.IGNORECASE,
)


TimeoutExpired = subprocess.TimeoutExpired


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
    """Run to the end and collect both outputs. `check` raises `ProcessFailedError` on a bad exit.

    It runs in its own session: a Ctrl-C in the terminal reaches gitmill and not the process.
    Raises `FileNotFoundError` when there is no such program.
    """
    with chokepoint(f"run {' '.join(argv)}"):
        done = subprocess.run(
            argv,
            cwd=cwd,
            env=env,
            input=stdin,
            capture_output=True,
            check=False,
            timeout=timeout,
            pass_fds=pass_fds,
            start_new_session=True,
        )
    finished = Finished(tuple(argv), done.returncode, done.stdout, done.stderr)
    if check and finished.returncode != 0:
        raise ProcessFailedError(
            f"`{' '.join(argv[:4])}` exited {finished.returncode}",
            evidence=finished.error.splitlines()[-6:],
        )
    return finished


def start(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stderr: int = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a process that is spoken to over its standard input and output, in its own session."""
    with chokepoint(f"start {argv[0]}"):
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


def scrubbed(extra: Mapping[str, str], *, keep: Sequence[str] = ()) -> dict[str, str]:
    """Return the environment for other people's code: no `GIT_*`, no secrets except `keep`."""
    base = {
        name: value
        for name, value in os.environ.items()
        if name in keep or not (name.startswith(("GIT_", "GITMILL_")) or SECRET_NAME.search(name))
    }
    return base | dict(extra)


def secrets() -> tuple[str, ...]:
    """Return the values of the secret variables that are too long to be words."""
    return tuple(
        value for name, value in os.environ.items() if SECRET_NAME.search(name) and len(value) >= 8
    )


@dataclass(frozen=True, slots=True)
class Command:
    """What a supervisor runs: an argv, its input, its place, its limits in seconds.

    `env` is the whole environment. After a limit or a cancel comes SIGINT, then `grace` seconds,
    then SIGKILL. Both outputs are appended to the file `transcript` as they come, size-capped.
    `watch` gets each line of standard output as it comes, without its end, and ends the command
    by returning why; lines of more than 16 MiB are not shown to it.
    `access` is what it may do to the files of its worktree: `read-only`, `workspace`, or `full`,
    which is no limit. `sandboxed`: `argv` already is the sandbox around the real command.
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


def script(folder: Path, name: str, text: str) -> tuple[str, ...]:
    """Write a shell script and return an argv that runs it up to its first failing line.

    The script is a file because an argument is bounded and visible in the process list.
    """
    path = folder / f"{name}.sh"
    write_anew(path, (text + "\n").encode("utf-8", "surrogateescape"))
    return "/bin/sh", "-e", str(path)


def home() -> Path:
    """Return the user's home."""
    return Path(os.environ.get("HOME") or "~").expanduser()


def write_anew(path: Path, data: bytes) -> None:
    """Write a file where other people's code may have put a link or a folder."""
    if path.is_dir() and not path.is_symlink():
        import shutil  # noqa: PLC0415  (it is rare, and this module is in every start)

        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a supervised command ended.

    `ended` is `exited`, `timed-out` (wall), `idle` (no output), `cancelled`, `stopped` (by its
    `watch`, and `why` is what that said), `unstartable` (`stderr` says why) or `lost` (the
    supervisor itself was killed or failed; nothing is known).
    `status` is the exit status (negative, or in a sandbox above 128: signal); alone it means
    something only with `exited`.
    `stdout` and `stderr` hold the first and last bytes; `cut` counts those that were not kept, and
    and a line marks the gap.
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
        """The command exited with status 0."""
        return self.ended == "exited" and self.status == 0

    def tail(self, lines: int = 40) -> str:
        """Return the last lines of both outputs as text for a run log."""
        both = b"\n".join(part.rstrip() for part in (self.stdout, self.stderr) if part.strip())
        return "\n".join(both.decode("utf-8", "replace").splitlines()[-lines:])
