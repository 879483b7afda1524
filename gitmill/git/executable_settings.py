"""The settings of git's configuration that make it run a program, or lead it elsewhere.

The one list: gitmill's own calls switch off what runs by itself, an agent's code may plant none of
them, and `doctor` lists those of the repository. Format: git-config(1).
"""

from __future__ import annotations

import re

# Keys whose value git runs, by itself or with a common command, and files that add such keys.
_PROGRAMS = (
    r"alias\..*",
    r"core\.(fsmonitor|hookspath|sshcommand|gitproxy|editor|pager|askpass|alternaterefscommand)",
    r"filter\..*\.(clean|smudge|process)",
    r"diff\.external|diff\..*\.(command|textconv)",
    r"merge\..*\.driver",
    r"hook\..*\.command",
    r"(include|includeif\..*)\.path",
    r"credential(\..*)?\.helper",
    r"gpg(\..*)?\.(program|defaultkeycommand)",
    r"sequence\.editor|pager\..*|interactive\.difffilter",
    r"(difftool|mergetool|guitool|man|browser)\..*\.(cmd|path)",
    r"init\.templatedir",
    r"remote\..*\.(uploadpack|receivepack|vcs)",
    r"submodule\..*\.update",
    r"trailer\..*\.(cmd|command)",
    r"uploadpack\.packobjectshook",
    r"tar\..*\.command",
    r"sendemail\..*cmd",
    r"lfs\.customtransfer\..*\.path|lfs\.extension\..*\.(clean|smudge)",
)
# Keys that lead git, or gitmill, to another repository, server, program by name or set of rules.
_REDIRECTIONS = (
    r"core\.worktree",
    r"web\.browser",
    r"remote\..*\.proxy",
    r"url\..*\.(insteadof|pushinsteadof)",
    r"protocol\..*",
    r"sendemail\..*",
    r"lfs\..*",
    r"gitmill\.(sandbox|bubblewrap|writable|readable|worktreeroot)",
)
# What git would run by itself during gitmill's own calls, and the value that prevents it.
SWITCHED_OFF = {"core.hooksPath": "/dev/null", "core.fsmonitor": "false"}


def runs_program(key: str) -> bool:
    """Whether git runs the value of a key, in lower case, or reads such keys from it."""
    return re.fullmatch("|".join(_PROGRAMS), key) is not None


def is_executable(key: str) -> bool:
    """Whether nobody but the user may set a key: it runs a program or leads git elsewhere."""
    return runs_program(key) or re.fullmatch("|".join(_REDIRECTIONS), key) is not None
