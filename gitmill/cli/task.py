"""`gitmill task …`: create, read and decide."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gitmill.cli import output, session
from gitmill.errors import UsageError

task = typer.Typer(add_completion=False, no_args_is_help=False, help="Tasks: make, read, decide.")

Id = Annotated[str, typer.Argument(help="Id of the task, or how it begins.", metavar="ID")]
Why = Annotated[str, typer.Option("-m", "--message", help="Why.")]
Criterion = Annotated[
    list[str] | None,
    typer.Option("--criterion", help="What must hold; `$ command` has to exit 0. Repeatable."),
]
Paths = Annotated[
    list[str] | None, typer.Option("--path", help="The change stays within these. Repeatable.")
]
After = Annotated[
    list[str] | None, typer.Option("--after", help="Comes after this task. Repeatable.")
]
Label = Annotated[list[str] | None, typer.Option("--label", help="A free word. Repeatable.")]
Script = Annotated[
    str | None, typer.Option("--script", help="Shell script for the agent shell; `@FILE` reads it.")
]
Priority = Annotated[int | None, typer.Option("--priority", min=0, max=4, help="0 is first.")]
RiskOption = Annotated[str | None, typer.Option("--risk", help="low, medium or high.")]
Body = Annotated[str | None, typer.Option("-m", "--body", help="What and why; `-` reads it.")]


@task.callback(invoke_without_command=True)
def bare(context: typer.Context) -> None:
    """List tasks when no verb is given."""
    if context.invoked_subcommand is None:
        list_tasks()


@task.command()
def new(
    title: Annotated[str, typer.Argument(help="One line: what to do.")],
    script: Script = None,
    criterion: Criterion = None,
    path: Paths = None,
    after: After = None,
    label: Label = None,
    priority: Priority = None,
    risk: RiskOption = None,
    body: Body = None,
    *,
    ready: Annotated[bool, typer.Option("--ready", help="Ready immediately.")] = False,
) -> None:
    """Make a task."""
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
        priority=2 if priority is None else priority,
        risk=_risk(risk or "medium"),
    )
    output.answer([item.id], {"item": session.as_json(item)})
    output.print_line(f"{item.id} is {item.status.value}: {item.title}")
    output.next_step(*session.after(item))


@task.command("list")
def list_tasks(
    status: Annotated[
        list[str] | None, typer.Option("-s", "--status", help="Only these. Repeatable.")
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Ended ones too.")] = False,
) -> None:
    """List tasks, the open ones unless `--all`."""
    from gitmill.core.lifecycle import FINAL, Status
    from gitmill.flows import show

    known = [one.value for one in Status]
    for one in status or ():
        if one not in known:
            raise UsageError(f"there is no status {one}", hints=[f"known: {', '.join(known)}"])
    snapshot = show.read(session.mill())
    items = sorted(snapshot.items.values(), key=lambda i: (i.priority, i.created, i.id))
    chosen = [
        item
        for item in items
        if (item.status.value in status if status else everything or item.status not in FINAL)
    ]
    rows = [
        f"{item.id}  {output.word(item.status.value, 9)}  {item.stage:<8}  {item.title}"
        for item in chosen
    ]
    output.answer(rows, lambda: {"items": [session.as_json(item) for item in chosen]})
    _warn_broken(snapshot.broken)
    if not chosen:
        output.print_line("no tasks")
        output.next_step('gitmill task new "What to do" --ready')


def _warn_broken(broken: dict[str, Any]) -> None:
    for error in broken.values():
        output.print_line(f"warning: {error.message}; skipped until it is fixed")


@task.command()
def show(item_id: Id) -> None:
    """Show a task with its criteria, its attempts and what it waits for."""
    from gitmill.cli.show import item_lines, run_json
    from gitmill.flows.attempts import logs_of

    item, logs = logs_of(session.mill(), item_id)
    output.answer(
        item_lines(item, logs),
        lambda: {"item": session.as_json(item), "attempts": [run_json(log) for log in logs]},
    )
    shown = f"gitmill task show {item.id}"
    output.next_step(*(command for command in session.after(item) if command != shown))


@task.command()
def edit(
    item_id: Id,
    title: Annotated[str | None, typer.Option("--title")] = None,
    script: Script = None,
    criterion: Criterion = None,
    path: Paths = None,
    after: After = None,
    label: Label = None,
    priority: Priority = None,
    risk: RiskOption = None,
    body: Body = None,
) -> None:
    """Change fields of a task; a given list replaces the one that was there, '' empties it."""
    from gitmill.flows.task import edit_task

    fields: dict[str, Any] = {
        "title": title,
        "script": _script(script),
        "criteria": criterion,
        "paths": path,
        "after": after,
        "labels": label,
        "priority": priority,
        "risk": _risk(risk).value if risk else None,
    }
    changes = {
        key: ([one for one in value if one] if isinstance(value, list) else value) or None
        for key, value in fields.items()
        if value is not None
    }
    if priority is not None:
        changes["priority"] = priority
    text = _text(body)
    if not changes and text is None:
        raise UsageError("nothing was given to change", hints=["see `gitmill task edit --help`"])
    new_body = f"\n{text.strip()}\n" if text is not None else None
    item = edit_task(session.mill(), item_id, changes, body=new_body)
    session.answer_item(item, f"{item.id} edited", *session.after(item))


@task.command()
def diff(item_id: Id) -> None:
    """Show the work of a task as a patch."""
    from gitmill.flows import show

    mill = session.mill()
    item = show.read(mill).resolve(item_id)
    text = show.diff(mill, item)
    output.answer(text.splitlines(), {"id": item.id, "base": item.base, "work": item.work,
                                      "diff": text})  # fmt: skip
    if not text:
        output.print_line(f"{item.id} has no work yet")


@task.command()
def path(item_id: Id) -> None:
    """Print the worktree of a task that a person has taken."""
    from gitmill.flows.take import worktree_of

    mill = session.mill()
    item = mill.snapshot().resolve(item_id)
    folder = worktree_of(mill, item)
    output.answer([str(folder)], {"id": item.id, "path": str(folder)})


@task.command()
def take(item_id: Id) -> None:
    """Build a task yourself: claims it and prints a worktree to work in."""
    from gitmill.flows import take

    mill = session.mill()
    item, folder = take.take(mill, session.resolve(mill, item_id))
    output.answer([str(folder)], {"item": session.as_json(item), "path": str(folder)})
    output.print_line(f"{item.id} is yours; work in that folder, commits there do not matter")
    output.next_step(f'cd "$(gitmill task path {item.id})"', f"gitmill task submit {item.id}")


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
    """Make a draft ready to be run."""
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
    """Take a task out of work."""
    _decide("block", item_id, message)


@task.command()
def cancel(item_id: Id, message: Why = "") -> None:
    """Cancel a task."""
    _decide("cancel", item_id, message)


@task.command()
def retry(item_id: Id) -> None:
    """Unblock a task, with all its attempts again."""
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


def _risk(given: str) -> Any:
    from gitmill.core.item import Risk

    try:
        return Risk(given)
    except ValueError:
        raise UsageError(f"risk is low, medium or high, not {given}") from None
