"""Whole screens of the verbs of a day, as a stranger reads them."""

from __future__ import annotations

import pytest

from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo(files={"a.txt": "one\n", "b.txt": "two\n"})
    assert gitmill(repo.path, "init").code == 0
    return repo


def test_init_says_what_it_did_and_what_to_type_next(sandbox: Sandbox):
    repo = sandbox.repo(files={"pyproject.toml": "[tool.ruff]\n", "tests/test_a.py": ""})
    code, out, err = gitmill(repo.path, "init").plain()
    assert (code, out) == (0, "")
    assert err == (
        "state is on the branch gitmill/state; work lands on main, the branch that you are on\n"
        "proposed FOLDER/repo (python -m pytest -q, ruff check .); it takes effect once committed\n"
        "next: `git add .gitmill && git commit -m 'Add gitmill policy' -- .gitmill`, then "
        '`gitmill task new "What to do" --ready`\n'
    )
    assert gitmill(repo.path, "init").plain() == (
        0,
        "",
        'already initialized; work lands on main\nnext: `gitmill task new "What to do" --ready`\n',
    )


def test_a_task_from_new_to_landed(repo: Repo):
    said = gitmill(
        repo.path, "task", "new", "Three", "--script", "echo three >> a.txt",
        "--criterion", "$ grep -q three a.txt", "--ready",
    )  # fmt: skip
    assert said.plain() == (0, "T1\n", "T1 is ready: Three\nnext: `gitmill run T1`\n")
    assert gitmill(repo.path, "status").plain() == (
        0,
        "ready 1   running 0   waiting 0   queued 0   landed today 0\n\n"
        "  ready     T1              Three TIME\n",
        "next: `gitmill run`\n",
    )
    assert gitmill(repo.path, "run").plain() == (
        0,
        "",
        "T1  build ..................... passed    shell TIME\n"
        "T1  sanity .................... passed    gitmill TIME\n"
        "T1  checks .................... passed    gitmill TIME\n"
        "T1  review .................... passed    rules TIME\n"
        "T1  land ...................... landed    Three\n"
        "landed T1 (2 attempts)\nnext: `gitmill status`\n",
    )
    assert repo.git("show", "main:a.txt") == "one\nthree"
    assert (repo.path / "a.txt").read_text() == "one\nthree\n"
    assert repo.git("log", "-1", "--format=%s%n%an%n%(trailers)").startswith("Three\nAda\n")


def test_nothing_ready_exits_5(repo: Repo):
    assert gitmill(repo.path, "run").plain() == (
        5,
        "",
        "error[nothing-to-do]: nothing is ready\n"
        "hint: see what each item waits for: `gitmill status`\n",
    )


def test_what_review_cannot_judge_waits_for_a_person(repo: Repo):
    task = new_task(
        repo.path, "Prose", "echo x > c.txt", "--criterion", "$ true", "--criterion", "Reads well"
    )
    code, _, err = gitmill(repo.path, "run").plain()
    assert code == 3
    assert err.endswith(
        'T1  review .................... asked     rules TIME   "rules cannot check: Reads well"\n'
        "waiting T1 (2 attempts)\nnext: `gitmill task diff T1`, then `gitmill task approve T1`\n"
    )
    assert gitmill(repo.path, "task", "approve", task).code == 0
    assert gitmill(repo.path, "queue", "land").code == 0
    assert repo.git("show", "main:c.txt") == "x"


def test_a_person_sends_work_back_with_words(repo: Repo):
    script = 'cp "$GITMILL_FINDINGS" seen.txt; echo "$GITMILL_ATTEMPT" > number.txt'
    task = new_task(repo.path, "Twice", script, "--criterion", "$ true", "--criterion", "prose")
    assert gitmill(repo.path, "run").code == 3
    assert gitmill(repo.path, "task", "return", task).plain() == (
        2, "", "error[usage]: a message is required\n"
               "hint: give one with `gitmill task return ID -m TEXT`\n",
    )  # fmt: skip
    assert gitmill(repo.path, "task", "return", task, "-m", "name the file").code == 0
    assert gitmill(repo.path, "run").code == 3
    work = f"refs/gitmill/work/{task}"
    assert repo.git("show", f"{work}:seen.txt") == "- medium: name the file"
    assert repo.git("show", f"{work}:number.txt") == "2"


def test_json_is_one_document_with_the_same_exit_code(repo: Repo):
    task = new_task(repo.path, "Json", "echo x > c.txt")
    run = gitmill(repo.path, "run", "--json")
    assert (run.code, run.err) == (0, "")
    assert run.json["schema"] == 1
    assert [i["status"] for i in run.json["items"]] == ["landed"]
    shown = gitmill(repo.path, "--json", "task", "show", task).json
    assert [a["verdict"] for a in shown["attempts"]] == ["pass", "pass"]
    events = gitmill(repo.path, "log", task, "--json").json["events"]
    assert [e["event"] for e in events[::-1]] == [
        "created", "readied", "claimed", "advanced", "claimed", "approved",
        "queued", "land-started", "landed",
    ]  # fmt: skip
    failed = gitmill(repo.path, "task", "show", "t-zzzzz", "--json")
    assert (failed.code, failed.out) == (1, "")
    assert '"error": "no-such-item"' in failed.err


@pytest.mark.parametrize(
    ("args", "code", "err"),
    [
        (["frob"], 2, "error[usage]: there is no command frob\nhint: see `gitmill --help`\n"),
        (["statuss"], 2,
         "error[usage]: there is no command statuss\nhint: did you mean `gitmill status`?\n"),
        (["task", "show"], 2,
         "error[usage]: missing argument 'ID'\nhint: see `gitmill task --help`\n"),
        (["run", "--through", "x"], 2,
         "error[usage]: --through is approved or landed, not x\n"),
        (["task", "show", "t-zzzzz"], 1,
         "error[no-such-item]: no item matches T1\n"
         "hint: see all with `gitmill task list`\n"),
        (["task", "new", " "], 2,
         'error[usage]: a task needs a title\nhint: `gitmill task new "What to do" …`\n'),
        (["task", "new", "x", "--after", "t-zzzzz"], 1,
         "error[no-such-item]: no item matches T1\n"
         "hint: see all with `gitmill task list`\n"),
        (["queue", "land"], 5,
         "error[nothing-to-do]: nothing is approved or queued\n"
         "hint: see all items with `gitmill status`\n"),
        (["loop", "show", "nope"], 2,
         "error[usage]: there is no loop nope\nhint: known: deliver\n"),
        (["-C"], 2, "error[usage]: -C needs a value\nhint: see `gitmill --help`\n"),
    ],
)  # fmt: skip
def test_bad_input_names_what_to_type(repo: Repo, args: list[str], code: int, err: str):
    assert gitmill(repo.path, *args).plain() == (code, "", err)


def test_without_repository_or_state_the_first_step_is_named(sandbox: Sandbox):
    code, _, err = gitmill(sandbox.root, "status").plain()
    assert code == 1
    assert err.startswith("error[not-a-repository]: ")
    repo = sandbox.repo()
    assert gitmill(repo.path, "status").plain() == (
        1,
        "",
        "error[not-initialized]: this repository has no branch gitmill/state\n"
        "hint: start one with `gitmill init`\n"
        "hint: or fetch a teammate's with `git fetch origin gitmill/state:gitmill/state`\n",
    )


def test_a_task_that_nothing_could_turn_red_is_refused_and_not_made(repo: Repo):
    assert gitmill(repo.path, "task", "new", "Nothing", "--script", "true", "--ready").plain() == (
        1,
        "",
        "error[not-ready]: nothing can verify this task: it has no check and no `$` criterion\n"
        "hint: add a criterion: `gitmill task edit ID --criterion '$ python -m pytest -q'`\n"
        "hint: or commit `[checks]` in .gitmill/config.toml\n",
    )
    assert gitmill(repo.path, "task").out == ""


def test_loops_can_be_read_and_checked(repo: Repo):
    assert gitmill(repo.path, "loop").out == (
        "deliver    task      build → sanity → checks → review → approve (troubleshoot, consult)\n"
    )
    assert gitmill(repo.path, "loop", "check").plain() == (0, "deliver compiles to HASH\n", "")
    assert gitmill(repo.path, "loop", "show", "--mermaid").out.startswith("flowchart TD\n")
    before = repo.git("rev-parse", "gitmill/state")
    assert gitmill(repo.path, "compile", "--check").code == 0
    assert repo.git("rev-parse", "gitmill/state") == before
    assert gitmill(repo.path, "compile").code == 0
    assert repo.git("log", "-1", "--format=%s", "gitmill/state").startswith("compiled ")


def test_a_broken_loop_does_not_run(repo: Repo):
    repo.commit({".gitmill/loops/deliver/35-more.md": "---\ntype: agent\nrole: nobody\n---\nDo.\n"})
    new_task(repo.path, "Never", "true")
    said = gitmill(repo.path, "run")
    assert said.code == 1
    assert said.err.startswith("error[cannot-compile]: the loop deliver does not compile")
    assert gitmill(repo.path, "task", "list", "-s", "ready").out.endswith("Never\n")


def test_pause_stops_new_work_and_says_why(repo: Repo):
    new_task(repo.path, "Later", "echo x > c.txt")
    assert gitmill(repo.path, "pause", "-m", "release day").code == 0
    assert gitmill(repo.path, "run").plain() == (
        3,
        "",
        "error[paused]: work is paused\n    release day\nhint: resume with `gitmill resume`\n",
    )
    assert gitmill(repo.path, "resume").code == 0
    assert gitmill(repo.path, "run").code == 0


def test_version_and_help_need_no_repository(sandbox: Sandbox):
    assert gitmill(sandbox.root, "--version").out.startswith("gitmill ")
    shown = gitmill(sandbox.root, "--help")
    assert (shown.code, shown.err) == (0, "")
    assert "task new" in shown.out


def test_every_word_of_the_table_is_a_command_and_the_other_way_round():
    from importlib import import_module

    from gitmill.cli.dispatch import NOUNS, VERBS

    for word, module in VERBS.items():
        app = import_module(f"gitmill.cli.{module}").verbs
        assert word in {c.name or c.callback.__name__ for c in app.registered_commands}
    for module in set(VERBS.values()):
        app = import_module(f"gitmill.cli.{module}").verbs
        for command in app.registered_commands:
            assert VERBS[command.name or command.callback.__name__] == module
    for word, module in NOUNS.items():
        assert getattr(import_module(f"gitmill.cli.{module}"), word).registered_commands
    assert not VERBS.keys() & NOUNS.keys()
