"""The live log shows an agent's actions; transcripts store its output, without keys."""

from __future__ import annotations

import json
import re
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from gitmill.attempts import transcripts
from gitmill.attempts.live_log import LIMIT
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.supervision import procfs
from tests.support.cast import PASS, Cast
from tests.support.cli import gitmill, new_task
from tests.support.hands import by_hand
from tests.support.repos import Repo, Sandbox

KEY = "sk-ant-api03-" + "Zq9" * 12
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeKLs1Pt8Qu\nKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==\n-----END RSA PRIVATE KEY-----"


@pytest.fixture
def cast(sandbox: Sandbox) -> Cast:
    made = Cast(sandbox, {}, {"builder": "coder", "reviewer": "judge"})
    made.plays("judge", PASS | {"news": [{"progress": "reads the diff"}]})
    return made


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gitmill", *args],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def script_of(cast: Cast, *lines: str) -> dict:
    """A builder that prints these lines and waits until the test lets it continue."""
    go = cast.folder / "go"
    step = PASS | {"write": {"a.txt": "b\n"}, "news": list(lines)}
    source = (cast.folder / "agent.py").read_text()
    wait = f"while name == 'coder' and not Path({str(go)!r}).exists():\n    time.sleep(0.01)\n"
    (cast.folder / "agent.py").write_text(
        source.replace('print(step.pop("error"', wait + 'print(step.pop("error"')
    )
    return step


def read_until(process: subprocess.Popen[str], what: str) -> list[str]:
    assert process.stdout is not None
    lines = []
    while not lines or what not in lines[-1]:
        line = process.stdout.readline()
        assert line, lines
        lines.append(line)
    return lines


def test_log_follows_an_agent_from_another_process(cast: Cast):
    step = script_of(
        cast, json.dumps({"progress": "edits a.txt"}), f"my key is {KEY}", PEM, "é done"
    )
    cast.plays("coder", step)
    task = new_task(cast.repo.path, "One", "")
    run = start(cast.repo.path, "run")
    followed = None
    try:
        while not (cast.repo.git_dir / f"gitmill/live/{task}.jsonl").exists():
            time.sleep(0.01)
        followed = start(cast.repo.path, "log", "-f", task)
        before = read_until(followed, "é done")
        assert run.poll() is None, "it is shown while the agent still works"
        (cast.folder / "go").touch()
        out, err = followed.communicate(timeout=30)
        assert run.wait(timeout=60) == 0
    finally:
        for process in filter(None, (run, followed)):
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()
    lines = [line.removeprefix(f"{task}  ").rstrip() for line in [*before, *out.splitlines(True)]]
    lines = [line for line in lines if "```" not in line and '"verdict"' not in line]
    assert lines == [
        "build       coder     begins",
        "build       coder     edits a.txt",
        "build       coder     my key is [redacted]",
        "build       coder     [redacted]",
        "build       coder     é done",
        "build       coder     passed",
        "sanity      gitmill   begins", "sanity      gitmill   passed",
        "checks      gitmill   begins", "checks      gitmill   passed",
        "advanced, ready at review",
    ]  # fmt: skip
    assert (followed.returncode, err) == (0, "")


@pytest.mark.slow
def test_log_follows_everything_as_json_until_no_worker_is_left(cast: Cast):
    cast.plays("coder", script_of(cast, "at work"))
    tasks = [new_task(cast.repo.path, "One", "")]
    run = start(cast.repo.path, "run", "--json")
    while not list((cast.repo.git_dir / "gitmill/live").glob("*")):
        time.sleep(0.01)
    followed = start(cast.repo.path, "log", "-f", "--json")
    read_until(followed, "at work")
    (cast.folder / "go").touch()
    out, _ = followed.communicate(timeout=60)
    run.communicate(timeout=60)
    entries = [json.loads(line) for line in out.splitlines()]
    assert {entry["item"] for entry in entries} == set(tasks)
    assert {entry["schema"] for entry in entries} == {1}
    over = [entry["text"] for entry in entries if entry["kind"] == "over"]
    assert over == ["advanced, ready at review", "approved, approved at review"]
    assert "reads the diff" in [entry["text"] for entry in entries]


@pytest.mark.slow
def test_log_ends_with_130_when_interrupted_and_when_the_run_is_killed(cast: Cast):
    cast.plays("coder", script_of(cast, "at work"))
    task = new_task(cast.repo.path, "One", "")
    run = start(cast.repo.path, "run")
    while not (cast.repo.git_dir / f"gitmill/live/{task}.jsonl").exists():
        time.sleep(0.01)
    first, second = (start(cast.repo.path, "log", "-f", task) for _ in range(2))
    for one in (first, second):
        read_until(one, "at work")
    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=20)
    assert (first.returncode, out, err) == (130, "", "")
    run.kill()
    run.communicate()
    out, _ = second.communicate(timeout=20)
    assert (second.returncode, out) == (0, f"{task}  its process has died\n")
    assert gitmill(cast.repo.path, "recover").code == 0
    kept = transcripts.read(Mill.open(cast.repo.path), task)
    [(name, text)] = kept.items()
    assert re.fullmatch(r"001-build-lost-[0-9a-f]{4}\.txt", name)
    assert "at work" in text


def test_log_of_an_idle_item_reports_that(cast: Cast):
    task = new_task(cast.repo.path, "One", "")
    assert gitmill(cast.repo.path, "log", "-f", task).plain() == (
        5, "", "error[nothing-to-do]: no attempt at T1 is running here\nhint: start one with `gitmill run T1`\n",
    )  # fmt: skip
    assert gitmill(cast.repo.path, "log", "-f").plain() == (
        5, "", "error[nothing-to-do]: nothing is running here\nhint: start with `gitmill run`\n",
    )  # fmt: skip


def objects(repo: Repo) -> bytes:
    """Return every object of a repository, reachable or not."""
    return subprocess.run(
        ["git", "cat-file", "--batch-all-objects", "--batch", "--unordered"],
        cwd=repo.path, capture_output=True, check=True,
    ).stdout  # fmt: skip


def test_a_planted_key_never_reaches_a_git_object(cast: Cast, monkeypatch: pytest.MonkeyPatch):
    own = "correct-horse-battery-staple-77"
    monkeypatch.setenv("MY_API_KEY", own)
    lines = [f"env {own}", f"key {KEY}", *PEM.split("\n"), json.dumps({"progress": f"tool {KEY}"})]
    bad = PASS | {"summary": f"used {KEY}", "news": lines, "error": f"stderr {KEY} {own}"}
    cast.plays("coder", {"exit": 9, "news": lines}, bad | {"write": {"a.txt": "b\n"}})
    task = new_task(cast.repo.path, "One", "")
    assert gitmill(cast.repo.path, "run", env={"MY_API_KEY": own}).code == 0
    kept = transcripts.read(Mill.open(cast.repo.path), task)
    assert "001-build.txt" in kept
    assert len(kept) >= 3, "the one that failed, the one that built, the review"
    assert "[redacted]" in kept["001-build.txt"]
    everything = objects(cast.repo)
    body = PEM.split("\n")[1]
    for secret in (KEY, own, body):
        assert secret.encode() not in everything
        for path in (cast.repo.git_dir / "gitmill").rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path
    assert not list((cast.repo.git_dir / "gitmill/transcripts").glob("*.raw"))


@pytest.mark.slow
def test_a_long_transcript_keeps_its_ends_and_a_live_view_its_beginning(cast: Cast):
    key = "\n".join(
        [
            "-----BEGIN RSA PRIVATE KEY-----",
            *["QUJD" * 16] * 12_000,
            "-----END RSA PRIVATE KEY-----",
        ]
    )
    many = [f"line {n}" for n in range(40_000)]
    cast.plays("coder", PASS | {"write": {"a.txt": "b\n"}, "news": ["first", key, *many, "last"]})
    task = new_task(cast.repo.path, "One", "")
    assert gitmill(cast.repo.path, "run").code == 0
    text = transcripts.read(Mill.open(cast.repo.path), task)["001-build.txt"]
    assert len(text) < transcripts.LIMIT + 100
    assert text.startswith("first\n")
    assert "last\n" in text[-200:]
    assert re.search(r"\n?\[\d+ bytes cut\]\n", text)
    assert "QUJDQUJD" not in text
    live = cast.repo.git_dir / f"gitmill/live/{task}.jsonl"
    assert live.stat().st_size < 3 * LIMIT


def test_half_a_key_at_the_cut_is_not_kept(sandbox: Sandbox):
    """The end of a long output begins in the middle of a key that spans lines."""
    repo = sandbox.repo()
    gitmill(repo.path, "init")
    mill = Mill.open(repo.path)
    path = transcripts.raw_path(mill, "t-k3f9x", "001-build", "c0ffee00")
    key = b"-----BEGIN RSA PRIVATE KEY-----\n" + b"SECRETSECRETSECRET\n" * 50_000
    path.write_bytes(
        b"start\n" * 100_000 + key + b"-----END RSA PRIVATE KEY-----\n" + b"end\n" * 50_000
    )
    assert transcripts.store(mill, path) == "001-build.txt"
    text = transcripts.read(mill, "t-k3f9x")["001-build.txt"]
    assert "SECRET" not in text
    assert text.startswith("start\n")
    assert text.endswith("end\n")


def test_transcripts_are_bounded_and_dropped_by_gc(cast: Cast):
    cast.plays("coder", PASS | {"write": {"a.txt": "b\n"}, "news": ["hello there"]})
    task = new_task(cast.repo.path, "One", "")
    assert gitmill(cast.repo.path, "run").code == 0
    mill = Mill.open(cast.repo.path)
    for number in range(3, 30):
        path = transcripts.raw_path(mill, task, f"{number:03d}-build", "c0ffee00")
        path.write_text("more\n")
        transcripts.store(mill, path)
    kept = sorted(transcripts.read(mill, task))
    assert kept == [f"{number:03d}-build.txt" for number in range(30 - transcripts.KEPT, 30)]
    assert gitmill(cast.repo.path, "gc").plain() == (
        0, "", "dropped the transcripts of 0 tasks\n"
    )  # fmt: skip
    looked = gitmill(cast.repo.path, "gc", "--days", "0", "--dry-run")
    assert (looked.code, looked.out) == (0, f"{task}\n")
    assert looked.err.startswith("would drop the transcripts of 1 task\n")
    assert looked.err.endswith("\nnext: `gitmill gc --days 0`\n")
    assert transcripts.read(mill, task) != {}
    assert gitmill(cast.repo.path, "gc", "--days", "0").plain() == (
        0, "T1\n", "dropped the transcripts of 1 task\n",
    )  # fmt: skip
    assert transcripts.read(mill, task) == {}
    assert gitmill(cast.repo.path, "fsck").code == 0


@pytest.mark.forges
def test_transcripts_of_open_or_unreadable_items_are_kept(cast: Cast):
    cast.plays("coder", {"exit": 9, "news": ["hello"]}, PASS | {"write": {"a.txt": "b\n"}})
    task = new_task(cast.repo.path, "One", "")
    assert gitmill(cast.repo.path, "run", "--through", "approved").code == 0
    gc = ("gc", "--days", "0", "--json")
    assert gitmill(cast.repo.path, *gc).json["transcripts"] == []
    assert gitmill(cast.repo.path, "queue", "land").code == 0
    by_hand(cast.repo, {"tasks/zz/t-zzzzz.md": "---\nstatus: [\n---\n"})
    result = gitmill(cast.repo.path, "gc", "--days", "0")
    assert (result.code, result.out) == (1, "")
    assert "tasks/zz/t-zzzzz.md:2" in result.err
    by_hand(cast.repo, {"tasks/zz/t-zzzzz.md": None})
    assert gitmill(cast.repo.path, *gc).json["transcripts"] == [task]


def test_uninit_removes_transcripts_and_says_that_no_bundle_holds_them(cast: Cast):
    cast.plays("coder", PASS | {"write": {"a.txt": "b\n"}, "news": ["hello there"]})
    new_task(cast.repo.path, "One", "")
    assert gitmill(cast.repo.path, "run").code == 0
    folder = cast.repo.git_dir / "gitmill/transcripts"
    asked = gitmill(cast.repo.path, "uninit")
    assert (asked.code, f"{folder}, which the bundle does not hold" in asked.err) == (2, True)
    removed = gitmill(cast.repo.path, "uninit", "--yes")
    assert removed.code == 0
    assert f"{folder}, which the bundle does not hold" in removed.err
    assert "the bundle holds everything else" in removed.err
    assert not folder.parent.exists()


def test_attempts_are_listed_and_shown_with_their_output(cast: Cast):
    cast.plays("coder", PASS | {"write": {"a.txt": "b\n"}, "news": ["hello there"]})
    task = new_task(cast.repo.path, "One", "")
    assert gitmill(cast.repo.path, "run").code == 0
    code, out, _ = gitmill(cast.repo.path, "attempt", "list", task).plain()
    assert code == 0
    assert [re.split(r"  +", line.strip())[:3] for line in out.splitlines()] == [
        ["T1", "1", "build"], ["T1", "2", "review"],
    ]  # fmt: skip
    assert gitmill(cast.repo.path, "attempt").plain()[1] == out
    shown = gitmill(cast.repo.path, "attempt", "show", task, "1")
    assert (
        f"output of the agent ({cast.repo.git_dir}/gitmill/transcripts/{task}/001-build.txt)"
        in shown.out
    )
    assert "hello there" in shown.out
    report = gitmill(cast.repo.path, "attempt", "show", task, "--json").json
    assert (report["attempt"]["number"], report["attempt"]["stage"]) == (2, "review")
    assert gitmill(cast.repo.path, "attempt", "show", task, "9").plain() == (
        2, "", "error[usage]: T1 has no attempt 9; there are 1 to 2\nhint: `gitmill attempt list T1`\n",
    )  # fmt: skip


def test_a_hostile_agent_cannot_have_its_transcript_written_elsewhere(cast: Cast):
    """The agent puts a link where the next attempt's output would go: names cannot be guessed."""
    victim = cast.folder / "victim"
    victim.write_text("mine\n")
    cast.plays("coder", PASS | {"write": {"a.txt": "b\n"}})
    task = new_task(cast.repo.path, "One", "")
    live = cast.repo.git_dir / "gitmill/live"
    live.mkdir(parents=True)
    (live / f"{task}.jsonl").symlink_to(victim)
    assert gitmill(cast.repo.path, "run").code == 0
    assert victim.read_text() == "mine\n"
    assert not (live / f"{task}.jsonl").is_symlink()


@pytest.mark.slow
@pytest.mark.parametrize("prints", ["yes 'a line of an agent'", "tr '\\0' a < /dev/zero"])
def test_memory_stays_flat_while_an_agent_prints_400_mb(sandbox: Sandbox, prints: str):
    repo = sandbox.repo()
    gitmill(repo.path, "init")
    new_task(repo.path, "Flood", f"{prints} | head -c 400000000; echo x > x.txt")
    run = start(repo.path, "run")
    peaks: dict[int, int] = {}
    while run.poll() is None:
        for pid in (run.pid, *procfs.children(run.pid)):
            with suppress(OSError):
                found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
                peaks[pid] = int(found[1]) if found else peaks.get(pid, 0)
        time.sleep(0.05)
    _, err = run.communicate()
    assert run.returncode == 0, err
    assert len(peaks) > 1, "gitmill and a supervisor"
    assert max(peaks.values()) < 150_000, peaks


def test_an_agent_in_the_sandbox_cannot_see_the_output_of_others(sandbox: Sandbox):
    repo = sandbox.repo()
    gitmill(repo.path, "init")
    other = repo.git_dir / "gitmill/transcripts/other.raw"
    other.parent.mkdir()
    other.write_text("raw output of another\n")
    new_task(repo.path, "Spy", f"cat {other} > seen.txt 2>/dev/null || echo nothing > seen.txt")
    assert gitmill(repo.path, "run", "--through", "approved").code == 0
    [work] = repo.git("for-each-ref", "--format=%(refname)", "refs/gitmill/work").split()
    assert repo.git("show", f"{work}:seen.txt") == "nothing"


@pytest.mark.slow
def test_no_object_that_git_lists_in_the_sandbox_holds_the_output_of_another_item(sandbox: Sandbox):
    """Git inside has the objects of the repository, so transcripts are not among them."""
    repo = sandbox.repo()
    gitmill(repo.path, "init")
    # What a run log keeps of the output, its end, is on the state branch, which git inside has.
    talk = r"printf '%s-%s\n' only printed; seq 20000; echo a > a.txt"
    first = new_task(repo.path, "Talk", talk)
    assert gitmill(repo.path, "run", "--through", "approved").code == 0
    assert "only-printed" in gitmill(repo.path, "attempt", "show", first, "1").out
    listed = "git cat-file --batch-all-objects --batch --unordered"
    seen = "; ".join(
        f"{listed} | {{ grep -a -c {word} || true; }} >> seen.txt"
        for word in ("only-[p]rinted", "Talk")
    )
    spy = new_task(repo.path, "Spy", seen)
    assert gitmill(repo.path, "run", "--through", "approved").code == 0
    found, known = map(int, repo.git("show", f"{layout.WORK}{spy}:seen.txt").split())
    assert known > 0, "it could read the objects of the repository"
    assert found == 0


def test_transcripts_are_files_that_only_the_user_can_read(cast: Cast):
    cast.plays("coder", PASS | {"write": {"a.txt": "b\n"}, "news": ["hello there"]})
    task = new_task(cast.repo.path, "One", "")
    assert gitmill(cast.repo.path, "run").code == 0
    folder = cast.repo.git_dir / "gitmill/transcripts" / task
    assert (
        stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    )
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert files == {"001-build.txt": 0o600, "002-review.txt": 0o600}
    assert "transcript" not in cast.repo.git("for-each-ref")


def older(repo: Repo, item: str, names: list[str]) -> str:
    """Store transcripts as an older version did: a commit under a ref of the item."""
    lines = "".join(
        f"100644 blob {repo.git('hash-object', '-w', '--stdin', stdin=f'said in {name}'.encode())}\t{name}\n"
        for name in names
    )
    tree = repo.git("mktree", stdin=lines.encode())
    ref = f"{layout.TRANSCRIPT}{item}"
    repo.git("update-ref", ref, repo.git("commit-tree", "-m", "transcripts", tree))
    return ref


@pytest.mark.parametrize("command", ["recover", "gc"])
def test_transcripts_of_an_older_version_become_files(cast: Cast, command: str):
    cast.plays("coder", PASS | {"write": {"a.txt": "b\n"}, "news": ["hello there"]})
    task = new_task(cast.repo.path, "One", "")
    assert gitmill(cast.repo.path, "run").code == 0
    names = [f"{number:03d}-build.txt" for number in range(1, 4)]
    older(cast.repo, task, names)
    moved = gitmill(cast.repo.path, command)
    assert moved.code == 0
    assert f"moved the transcripts of {task} out of git" in moved.err + moved.out
    assert "transcript" not in cast.repo.git("for-each-ref")
    kept = transcripts.read(Mill.open(cast.repo.path), task)
    assert "hello there" in kept["001-build.txt"], "a file that is there already stays"
    assert kept["003-build.txt"] == "said in 003-build.txt"
    assert "out of git" not in gitmill(cast.repo.path, command).err
    assert gitmill(cast.repo.path, "fsck").code == 0


def test_a_kill_while_transcripts_of_an_older_version_are_moved_loses_none(cast: Cast):
    task = new_task(cast.repo.path, "One", "")
    names = [f"{number:03d}-build.txt" for number in range(1, 4)]
    ref = older(cast.repo, task, names)
    for step in range(1, 20):
        env = {"GITMILL_FAILPOINT": f"before:{step}"}
        if gitmill(cast.repo.path, "recover", env=env).code == 0:
            break
        kept = transcripts.read(Mill.open(cast.repo.path), task)
        assert set(kept) == set(names) or cast.repo.git("for-each-ref", ref)
    assert step > len(names)
    assert set(transcripts.read(Mill.open(cast.repo.path), task)) == set(names)
    assert cast.repo.git("for-each-ref", ref) == ""


def test_a_link_in_the_place_of_an_items_transcripts_is_not_followed(cast: Cast):
    """An agent without a sandbox can make it."""
    cast.plays("coder", PASS | {"write": {"a.txt": "b\n"}, "news": ["hello there"]})
    task = new_task(cast.repo.path, "One", "")
    folder, elsewhere = cast.repo.git_dir / "gitmill/transcripts" / task, cast.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "000-build.txt").write_text("mine\n")
    folder.parent.mkdir()
    folder.symlink_to(elsewhere)
    assert transcripts.read(Mill.open(cast.repo.path), task) == {}
    assert gitmill(cast.repo.path, "run").code == 0
    assert [path.name for path in elsewhere.iterdir()] == ["000-build.txt"]
    assert "001-build.txt" in transcripts.read(Mill.open(cast.repo.path), task)
