"""The supervisor: a process that runs one command and ends everything the command started.

Standard input carries one frame (`read_frame`) with the pair (`Spec`, the command's input) and then
stays open. END OF FILE ON IT MEANS: END EVERYTHING, regardless of who closed it and why. After the
end, standard output carries one JSON line (`ended`, `status`, `seconds`, `cut`, and the sizes of
`stdout` and `stderr`), then the bytes of both outputs. With `stream`, the command's standard output
precedes that as it is read, in pieces prefixed by 4 bytes of size, and a size of 0 ends them. Any
other output is the traceback of a supervisor that failed.

The supervisor adopts orphans (subreaper), so on Linux no process that the command starts escapes
it by a new session or a cleared environment. On other systems it ends only the process group.

Every command pays for the imports of the supervisor. `json` and `signal` would add 8 ms of CPU to
the 5 ms it costs on top of a bare interpreter, so the specification is in `marshal`, a built-in.
"""

from __future__ import annotations

import os
import time

from gitmill.supervision import spawn
from gitmill.supervision.command_run import Run
from gitmill.supervision.streams import Kept, read_frame, write_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # the public module builds enumerations: 4 ms for each command


def main() -> None:
    """Run the command specified on standard input; return when no process of it is left."""
    _prepare()
    frame = read_frame()
    if frame is None:
        return
    spec, stdin = frame
    began = time.monotonic()
    try:
        run = Run(spec, stdin)
    except spawn.UnstartableError as error:
        reason = Kept(4096)
        reason.add(error.reason)
        _end_stream(stream=spec["stream"])
        _report("unstartable", error.status, time.monotonic() - began, Kept(0), reason)
        return
    try:
        ended = run.watch()
        seconds = time.monotonic() - began
        run.drain()
    finally:
        run.end_everything()
    status = -signal.SIGKILL if run.status is None else run.status
    if ended == "exited" and status > 0 and not run.began():
        ended, status = "unstartable", 127
    _end_stream(stream=spec["stream"])
    _report(ended, status, seconds, run.stdout, run.stderr)


def _prepare() -> None:
    os.dup2(1, 2)
    # Inherited locks must end with the supervisor, not with processes that the command leaves.
    for name in os.listdir("/dev/fd"):  # noqa: PTH208  (pathlib costs 8 ms)
        try:
            os.set_inheritable(int(name), int(name) <= 2)
        except OSError:
            continue  # the listing's own descriptor
    # A thread of the parent might have signals blocked, and child processes inherit that.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    spawn.prctl(spawn.PR_SET_CHILD_SUBREAPER, 1)
    # A command that has stopped its supervisor must not outlive gitmill: our end continues it, and
    # it reads the end of file.
    spawn.prctl(spawn.PR_SET_PDEATHSIG, signal.SIGCONT)
    # From now on only root can open our pipes through /proc: no command can forge its result.
    spawn.prctl(spawn.PR_SET_DUMPABLE, 0)


def _report(ended: str, status: int, seconds: float, stdout: Kept, stderr: Kept) -> None:
    out, err = stdout.value(), stderr.value()
    line = (
        f'{{"ended":"{ended}","status":{status},"seconds":{seconds:.6f},'
        f'"cut":{stdout.cut + stderr.cut},"stdout":{len(out)},"stderr":{len(err)}}}\n'
    )
    write_message(line.encode() + out + err)


def _end_stream(*, stream: bool) -> None:
    if stream:
        write_message(bytes(4))
