"""Seals every test off from the user's machine: own HOME, no system configuration, fixed dates."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from gitmill.supervision import bubblewrap
from tests.support import hints, seeds
from tests.support.repos import Sandbox

# Begun in the background of a shell, nothing that tests start would hear a SIGINT.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The detectors of secrets keep their compiled form there, which takes 4 s to make.
ROOT = Path(__file__).parents[1]  # programs of the tests import gitmill, and may be below /tmp
RULES = Path(tempfile.gettempdir()) / f"gitmill-tests-{os.getuid()}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=1, metavar="N", help=seeds.HELP)
    parser.addoption("--keep-histories", metavar="FOLDER", help="keep each true history there")
    parser.addoption("--run-hints", action="store_true", help=hints.HELP)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores: many tests wait for a clock or a process."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_configure(config: pytest.Config) -> None:
    seeds.configure(config)
    hints.runs = config.getoption("--run-hints")
    settings.register_profile(
        "gitmill",
        deadline=None,
        max_examples=seeds.times(25),
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    settings.load_profile("gitmill")


# Of the wrapper tests/support/bwrap.
os.environ["TESTS_BUBBLEWRAP"] = bubblewrap.find(layers=Path(tempfile.gettempdir())).program


def seal(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seal the environment off; fixtures of a wider scope than a test's call it themselves."""
    for name in [n for n in os.environ if n.startswith(("GIT_", "GITMILL_", "XDG_"))]:
        monkeypatch.delenv(name)
    for name, value in {
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "GITMILL_TRUST": "1",  # policies are committed by the tests; test_trust.py does without
        "KF_RULE_CACHE_DIR": str(RULES),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        "GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z",
        "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z",
        "GIT_TERMINAL_PROMPT": "0",
        "NO_COLOR": "1",
        "TZ": "UTC",
    }.items():
        monkeypatch.setenv(name, value)
    (home / ".gitconfig").write_text(
        "[user]\n\tname = Ada\n\temail = ada@example.com\n[init]\n\tdefaultBranch = main\n"
        "[core]\n\tfsync = none\n[gitmill]\n\tdurability = none\n"
    )


@pytest.fixture(autouse=True)
def sealed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path_factory.mktemp("home")
    seal(home, monkeypatch)
    return home


@pytest.fixture
def sandbox(tmp_path: Path, sealed: Path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Scripts leave word beside the repositories; these are as closed to them as anybody's."""
    monkeypatch.setenv("TESTS_WRITABLE", str(tmp_path))
    with (sealed / ".gitconfig").open("a") as file:
        file.write(f"\tbubblewrap = {ROOT}/tests/support/bwrap\n")
        file.write(f"\treadable = {ROOT}\n")
    return Sandbox(tmp_path)
