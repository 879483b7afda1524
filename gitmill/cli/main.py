"""The entry point. It imports nothing of gitmill, so that `--version` is fast."""

from __future__ import annotations

import sys


def run() -> None:
    """Run as a console script."""
    sys.exit(main(sys.argv[1:]))


def main(argv: list[str]) -> int:
    """Run one command line and return its exit code."""
    if argv == ["--version"]:
        from gitmill import __version__

        print(f"gitmill {__version__}")
        return 0
    from gitmill.cli.dispatch import dispatch

    return dispatch(argv)
