"""Replacing a file: whole or not at all, whatever is there, by however many writers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gitmill import files
from gitmill.failpoints import VARIABLE


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_a_new_file_has_the_default_mode_and_an_old_one_keeps_its_own(tmp_path: Path):
    path, plain = tmp_path / "file", tmp_path / "plain"
    plain.write_bytes(b"")
    files.replace(path, b"one")
    assert (path.read_bytes(), mode_of(path)) == (b"one", mode_of(plain))
    path.chmod(0o640)
    files.replace(path, b"two")
    assert (path.read_bytes(), mode_of(path)) == (b"two", 0o640)
    files.replace(path, b"three", mode=0o600)
    assert (path.read_bytes(), mode_of(path)) == (b"three", 0o600)
    path.chmod(0o4755)
    files.replace(path, b"four")
    assert mode_of(path) == 0o755
    assert sorted(tmp_path.iterdir()) == [path, plain]


def test_a_link_is_replaced_and_what_it_leads_to_is_not(tmp_path: Path):
    precious, path = tmp_path / "precious", tmp_path / "file"
    precious.write_text("precious")
    precious.chmod(0o666)
    for target in (precious, tmp_path / "nothing", tmp_path):
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        files.replace(path, b"new")
        assert (path.is_symlink(), path.read_bytes(), precious.read_text()) == (
            False, b"new", "precious",
        )  # fmt: skip
    assert sorted(tmp_path.iterdir()) == [path, precious]


def test_a_folder_with_files_is_replaced(tmp_path: Path):
    path = tmp_path / "file"
    (path / "deep").mkdir(parents=True)
    (path / "deep" / "x").touch()
    files.replace(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_link_can_be_what_replaces(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("old")
    with files.replacing(path, durable=True) as new:
        new.symlink_to("elsewhere")
    assert str(path.readlink()) == "elsewhere"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with files.replacing(path) as new:
            new.write_text("half")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail()
    assert (path.read_text(), list(tmp_path.iterdir())) == ("old", [path])


def test_threads_that_replace_one_file_never_mix(tmp_path: Path):
    path, texts = tmp_path / "file", [bytes([65 + n]) * 50_000 for n in range(8)]
    files.replace(path, texts[0])
    seen, stop, failed = set[bytes](), threading.Event(), list[BaseException]()

    def write(text: bytes) -> None:
        try:
            for _ in range(30):
                files.replace(path, text)
        except BaseException as error:  # noqa: BLE001  (shown by the assertion below)
            failed.append(error)

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert failed == []
    assert seen <= set(texts)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("when", "after"), [("before", "old"), ("after", "new")])
def test_a_killed_process_leaves_one_whole_file(tmp_path: Path, when, after):
    path = tmp_path / "file"
    path.write_text("old")
    code = f"files.replace(Path({str(path)!r}), b'new')"
    assert run(code, **{VARIABLE: f"{when}:1"}) == -signal.SIGKILL
    assert (path.read_text(), list(tmp_path.iterdir())) == (after, [path])


def test_what_a_process_killed_on_the_way_leaves_is_found(tmp_path: Path):
    path = tmp_path / "file"
    code = f"""
with files.replacing(Path({str(path)!r})) as new:
    new.write_text("half")
    os.kill(os.getpid(), 9)
"""
    assert run(code) == -signal.SIGKILL
    (tmp_path / ".mine.new").touch()
    (found,) = files.leftovers(tmp_path)
    assert (found.read_text(), path.exists()) == ("half", False)
    assert files.leftovers(tmp_path, of="file") == [found]
    assert files.leftovers(tmp_path, of="fil") == []


def run(code: str, **env: str) -> int:
    """Run code in a new process; return its status."""
    imports = "import os\nfrom pathlib import Path\nfrom gitmill import files\n"
    argv = [sys.executable, "-c", imports + code]
    return subprocess.run(argv, env=os.environ | env, check=False, capture_output=True).returncode


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
@pytest.mark.parametrize("durable", [True, False])
def test_what_is_durable_is_flushed_before_it_gets_its_name(tmp_path: Path, durable):
    code = (
        "from gitmill import files; from pathlib import Path; "
        f"files.replace(Path('file'), b'new', durable={durable})"
    )
    done = subprocess.run(
        ["strace", "-y", "-e", "trace=fsync,rename,renameat,renameat2", sys.executable, "-c", code],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "Operation not permitted" in done.stderr:
        pytest.skip("nothing may be traced here")
    lines = [line for line in done.stderr.splitlines() if str(tmp_path) in line or ".new" in line]
    kinds = [line.partition("(")[0] for line in lines]
    assert kinds == (["fsync", "rename", "fsync"] if durable else ["rename"])
