"""`gitmill task …`: create, edit, build by hand and decide, on the typer app of `task.py`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gitmill.cli import output, session
from gitmill.cli.task import Id, task
from gitmill.errors import UsageError
from gitmill.hints import Gitmill, Hint, Shell

if TYPE_CHECKING:
    from gitmill.core.item import Item, Risk

Why = Annotated[str, typer.Option("-m", "--message", help="Why.")]
Criterion = Annotated[
    list[str] | None,
    typer.Option("--criterion", help="A condition to meet; `$ command` must exit 0. Repeatable."),
]
Paths = Annotated[
    list[str] | None,
    typer.Option("--path", help="The change stays within these paths. Repeatable."),
]
After = Annotated[
    list[str] | None, typer.Option("--after", help="A task that must be done first. Repeatable.")
]
Label = Annotated[list[str] | None, typer.Option("--label", help="A free word. Repeatable.")]
Script = Annotated[
    str | None, typer.Option("--script", help="Shell script for the agent shell; `@FILE` reads it.")
]
Fixes = Annotated[
    str | None,
    typer.Option(
        "--fixes-check",
        help="The check of the policy that it turns green: built also while that is red.",
        metavar="NAME",
    ),
]
Priority = Annotated[int | None, typer.Option("--priority", min=0, max=4, help="0 is first.")]
RiskOption = Annotated[str | None, typer.Option("--risk", help="low, medium or high.")]
Body = Annotated[str | None, typer.Option("-m", "--body", help="What and why; `-` reads it.")]


@task.command("shell")
def shell_in(
    item_id: Id,
    command: Annotated[
        list[str] | None,
        typer.Argument(help="A command with its words; without one, your shell.", metavar="-- CMD"),
    ] = None,
) -> int:
    """Open a shell, or run a command, with the work of a task; nothing there is kept."""
    from gitmill.flows.shell import shell_with

    mill, opened = session.mill(), {}

    def opening(item: Item, commit: str) -> None:
        opened.update({"id": item.id, "commit": commit})
        what = f"the work of {item.id}" if item.work else f"no work of {item.id} yet: the target"
        output.print_line(f"{what}, {commit[:10]}; what you change here is thrown away")

    status = shell_with(mill, item_id, command or (), opening)
    output.answer([], {**opened, "status": status})
    return status


@task.command()
def new(
    title: Annotated[str, typer.Argument(help="One line: what to do.")],
    script: Script = None,
    criterion: Criterion = None,
    path: Paths = None,
    after: After = None,
    label: Label = None,
    fixes: Fixes = None,
    priority: Priority = None,
    risk: RiskOption = None,
    body: Body = None,
    *,
    ready: Annotated[bool, typer.Option("--ready", help="Let it run immediately.")] = False,
) -> None:
    """Create a task."""
    from gitmill.flows.task import new_task

    item = new_task(
        session.mill(),
        ready=ready,
        title=title,
        body=_text(body) or "",
        script=_script(script) or "",
        criteria=criterion or (),
        paths=path or (),
        after=after or (),
        labels=label or (),
        fixes_check=fixes or "",
        priority=2 if priority is None else priority,
        risk=_risk(risk or "medium"),
    )
    output.answer([item.id], {"item": session.as_json(item)})
    output.print_line(f"{item.id} is {item.status.value}: {item.title}")
    output.next_step(*session.after(item))


@task.command()
def edit(
    item_id: Id,
    title: Annotated[str | None, typer.Option("--title")] = None,
    script: Script = None,
    criterion: Criterion = None,
    path: Paths = None,
    after: After = None,
    label: Label = None,
    fixes: Fixes = None,
    priority: Priority = None,
    risk: RiskOption = None,
    body: Body = None,
) -> None:
    """Change fields of a task; a list that is given replaces the old one, '' empties it."""
    from gitmill.flows.task import edit_task

    text = _text(body)
    changes = _changes(
        title=title,
        script=_script(script),
        criteria=criterion,
        paths=path,
        after=after,
        labels=label,
        fixes_check=fixes,
        risk=_risk(risk).value if risk else None,
    )
    if priority is not None:
        changes["priority"] = priority
    if not changes and text is None:
        raise UsageError(
            "no change was given", hints=[Hint("see", Gitmill("task", "edit", "--help"))]
        )
    new_body = f"\n{text.strip()}\n" if text is not None else None
    item = edit_task(session.mill(), item_id, changes, body=new_body)
    session.answer_item(item, f"{item.id} edited", *session.after(item))


def _changes(**fields: str | list[str] | None) -> dict[str, Any]:
    """Return the fields to set, without those that were not given; an empty one becomes None."""
    return {
        key: ([part for part in value if part] if isinstance(value, list) else value) or None
        for key, value in fields.items()
        if value is not None
    }


@task.command()
def take(item_id: Id) -> None:
    """Build a task yourself: claim it and print a worktree to work in."""
    from gitmill.flows import take

    mill = session.mill()
    item, folder = take.take(mill, session.resolve(mill, item_id))
    output.answer([str(folder)], {"item": session.as_json(item), "path": str(folder)})
    output.print_line(f"{item.id} is yours; work in that folder, no commit is needed there")
    output.next_step(
        Shell(f'cd "$(gitmill task path {item.id})"'), Gitmill("task", "submit", item.id)
    )


@task.command()
def submit(item_id: Id, message: Why = "") -> None:
    """Submit the tree of your worktree; sanity and checks follow immediately."""
    from gitmill.flows import take

    mill = session.mill()
    progress = output.Progress()
    result = take.submit(mill, session.resolve(mill, item_id), message, progress.stage)
    item = result.item
    session.answer_item(
        item, f"{item.id} is {item.status.value} at {item.stage}", *session.after(item)
    )


@task.command()
def ready(item_id: Id) -> None:
    """Let a draft run."""
    from gitmill.flows.task import ready_task

    item = ready_task(session.mill(), item_id)
    session.answer_item(item, f"{item.id} is ready", *session.after(item))


@task.command()
def approve(item_id: Id, message: Why = "") -> None:
    """Approve a task that waits for a person."""
    _decide("approve", item_id, message)


@task.command("return")
def return_(item_id: Id, message: Why = "") -> None:
    """Return work to its author, with the reason."""
    _decide("return", item_id, message)


@task.command()
def answer(item_id: Id, message: Why = "") -> None:
    """Answer a question of an agent."""
    _decide("answer", item_id, message)


@task.command()
def block(item_id: Id, message: Why = "") -> None:
    """Stop work on a task until it is unblocked."""
    _decide("block", item_id, message)


@task.command()
def cancel(item_id: Id, message: Why = "") -> None:
    """Cancel a task."""
    _decide("cancel", item_id, message)


@task.command()
def retry(item_id: Id) -> None:
    """Unblock a task and reset its attempts."""
    _decide("unblock", item_id, reset=True)


@task.command()
def unblock(item_id: Id) -> None:
    """Unblock a task, with its remaining attempts."""
    _decide("unblock", item_id, reset=False)


@task.command()
def reopen(item_id: Id) -> None:
    """Start an ended task again."""
    _decide("reopen", item_id)


def _decide(decision: str, item_id: str, *arguments: str, **options: bool) -> None:
    from gitmill.flows.task import decide

    item = decide(session.mill(), decision, item_id, *arguments, **options)
    stage = f" at {item.stage}" if item.stage and not item.is_final else ""
    sentence = f"{item.id} is {item.status.value}{stage}"
    session.answer_item(item, sentence, *session.after(item))


def _text(given: str | None) -> str | None:
    if given != "-":
        return given
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"the text is not UTF-8: {error}") from None


def _script(given: str | None) -> str | None:
    if not given or not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the script {given[1:]}: {error}") from None


def _risk(given: str) -> Risk:
    from gitmill.core.item import Risk

    try:
        return Risk(given)
    except ValueError:
        raise UsageError(f"risk is low, medium or high, not {given}") from None
