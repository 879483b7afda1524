"""Runs a script as an ordinary user, who reaches Python, gitmill and one folder of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gitmill.supervision import bubblewrap

UID = 65534
_BECOME = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups")
_OURS = ("XDG", "GIT", "KF_")


def as_nobody(home: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a home that belongs to user 65534, all its files included; as root.

    Folders above must let that user through: they do in a namespace of mounts.
    """
    (home / "try.sh").write_text(
        "set -e; export HOME=$1 XDG_STATE_HOME=$1/state GITMILL_TRUST=1; cd $1; shift\n"
        "git config --global user.name N; git config --global user.email n@example.com\n"
        f'gitmill() {{ {sys.executable} -m gitmill "$@"; }}\n{script}'
    )
    for path in (home, *home.rglob("*")):
        os.lchown(path, UID, UID)
    shown = {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[2], home}
    options = ["--dev-bind", "/", "/", "--perms", "1777", "--tmpfs", "/tmp"]
    if Path(sys.base_prefix).is_relative_to("/root"):
        options += ["--perms", "0755", "--tmpfs", "/root"]
    for path in sorted(shown):
        options += ["--perms", "0755", "--dir", str(path.parent)]
        options += ["--bind", str(path), str(path)]
    for parent in {parent for path in shown for parent in path.parents if parent != Path("/")}:
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            options += ["--chmod", "0755", str(parent)]
    environ = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
    shell = ("bash", str(home / "try.sh"), str(home), *arguments)
    return subprocess.run(
        [bubblewrap.find().program, *options, "--", *_BECOME, *shell],
        capture_output=True, text=True, check=False, env=environ,
    )  # fmt: skip
