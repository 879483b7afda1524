"""The kill matrix at length: `python -m tests.bench.kill 300 [FIRST_SEED]`.

Four tasks with a return, a conflict and a red check; runs are killed at random moments, alone or with
their whole process tree, until one comes to its end. Prints how many were killed; exits with the
first round in which anything was lost or done twice.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from tests.support.crash_cases import Server
from tests.support.crash_four import survives

ROOT = Path(__file__).parents[2]  # the killed commands run from there, in the sandbox too
CONFIG = (
    "[user]\n\tname = Ada\n\temail = ada@example.com\n[init]\n\tdefaultBranch = main\n"
    "[gitmill]\n\tdurability = none\n"
)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory(prefix="gitmill-kill-") as place:
        config = Path(place, "gitconfig")
        config.write_text(
            f"{CONFIG}\twritable = {place}\n\treadable = {place}\n\treadable = {ROOT}\n"
        )
        os.environ |= {"GIT_CONFIG_GLOBAL": str(config), "GIT_CONFIG_NOSYSTEM": "1", "HOME": place,
                       "XDG_STATE_HOME": f"{place}/state", "GITMILL_TRUST": "1"}  # fmt: skip
        server, killed, began = Server(), 0, time.monotonic()
        for number in range(rounds):
            killed += survives(Path(place), server, first + number)
            if (number + 1) % 10 == 0:
                took = time.monotonic() - began
                print(f"{number + 1} rounds, {killed} runs killed, {took:.0f} s", flush=True)
        server.close()


if __name__ == "__main__":
    main()
