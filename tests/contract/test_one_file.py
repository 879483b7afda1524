"""The promise to a newcomer: one file, dropped into the package, is under contract at once."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAMPLES = Path(__file__).parent / "samples"
BROKEN = {
    "agents/parrot.py": ("outcome.passed and", "True and", "[parrot-crashes]"),
    "attempts/stages/words.py": ('VerdictWord.PASS, "', 'VerdictWord.FAIL, "', "[words]"),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("newcomer")
    for name in ("gitmill", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def contract(folder: Path, name: str) -> tuple[set[str], set[str]]:
    """Run the contract tests of a plug-in in a copy of the project; return passed and failed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "-n", "0", "-p", "no:cacheprovider",
         "tests/contract/test_agent_contract.py", "tests/contract/test_stages.py",
         "-k", f"(test_every_agent and {name}) or (test_every_stage and {name})"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    ids = re.findall(r"^(PASSED|FAILED) \S+?(\[\S+\])", done.stdout, re.MULTILINE)
    assert ids, done.stdout + done.stderr
    return {i for word, i in ids if word == "PASSED"}, {i for word, i in ids if word == "FAILED"}


@pytest.mark.slow
@pytest.mark.parametrize("path", BROKEN)
def test_a_new_file_is_tested_at_once_and_a_broken_one_fails(copy: Path, path: str):
    name, (old, new, fails) = Path(path).stem, BROKEN[path]
    text = (SAMPLES / f"{name}.py").read_text("utf-8")
    (copy / "gitmill" / path).write_text(text)
    passed, failed = contract(copy, name)
    assert fails in passed
    assert failed == set()
    assert old in text
    (copy / "gitmill" / path).write_text(text.replace(old, new))
    assert fails in contract(copy, name)[1]
