"""What the tests of the guide count as the same output, and that they run commands as a shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.console import Shell, Step, Transcript, sections

PAGE = """\
## One

```console
$ echo a
a
$ cat <<'END'
> b
>
> END
b

```

```sh
$ not run
```

## Two

```console
$ false
$ echo $?
1
```
"""


def test_a_page_is_read_by_headings_and_prompts():
    assert sections(PAGE) == {
        "One": [
            Step(4, "echo a", ("a",)),
            Step(6, "cat <<'END'\nb\n\nEND", ("b", "")),
        ],
        "Two": [Step(21, "false"), Step(22, "echo $?", ("1",))],
    }


def test_the_shell_keeps_folder_variables_and_status_and_reads_both_outputs(tmp_path: Path):
    with Shell(tmp_path, {"GREETING": "hello"}) as shell:
        assert shell.run("mkdir x && cd x && name=world") == (0, [])
        assert shell.run('pwd; echo "$GREETING $name" >&2') == (
            0,
            [f"{tmp_path}/x", "hello world"],
        )
        assert shell.run("cat; printf unended; (exit 3)") == (3, ["unended"])
        assert shell.run("echo $?") == (0, ["3"])
        for step in sections(PAGE)["One"]:
            assert shell.run(step.command) == (0, list(step.printed))


@pytest.mark.parametrize(
    ("page", "real"),
    [
        (["a"], ["a"]),
        ([], []),
        (["a", "...", "c"], ["a", "b", "b", "c"]),
        (["a", "...", "c"], ["a", "c"]),
        (["..."], []),
        (["...", "c", "...", "e"], ["a", "c", "d", "c", "e"]),
        (["t-aaaaa  build .. passed  0.3s"], ["t-bbbbb  build .. passed   12s"]),
        (["297 passed in 1.05s"], ["297 passed, 2 warnings in 75.30s (0:01:15)"]),
        (["  1  build  shell@laptop"], ["  1  build  shell@vm.example"]),
        (["see /home/you/x/y.toml (1a2b3c4)"], ["see /tmp/p-0/x/y.toml (9f8e7d6)"]),
        (["t-aaaaa t-ccccc", "t-aaaaa"], ["t-bbbbb t-ddddd", "t-bbbbb"]),
    ],
)
def test_the_same(page: list[str], real: list[str]):
    assert Transcript().agrees(page, real)


@pytest.mark.parametrize(
    ("page", "real"),
    [
        (["a"], ["b"]),
        (["a"], ["a", "b"]),
        (["a", "b"], ["a"]),
        ([], ["a"]),
        (["a", "...", "c"], ["a", "b"]),
        (["a", "...", "a"], ["a"]),
        (["...", "c"], ["c", "d"]),
        (["t-aaaaa is ready"], ["t-aaaaa is blocked"]),
        (["t-aaaaa", "t-aaaaa"], ["t-bbbbb", "t-ddddd"]),
        (["t-aaaaa", "t-ccccc"], ["t-bbbbb", "t-bbbbb"]),
        (["297 passed in 1.05s"], ["296 passed in 1.05s"]),
    ],
)
def test_not_the_same(page: list[str], real: list[str]):
    assert not Transcript().agrees(page, real)


def test_an_id_stays_the_same_over_the_whole_page():
    transcript = Transcript()
    assert transcript.agrees(["t-aaaaa"], ["t-bbbbb"])
    assert not transcript.agrees(["t-aaaaa"], ["t-ccccc"])
    assert transcript.agrees(["t-aaaaa t-eeeee"], ["t-bbbbb t-ccccc"])
