"""`gitmill task …`: read tasks. The commands that change them are in `task_changes.py`."""

from __future__ import annotations

from typing import Annotated

import typer

from gitmill.cli import output, session
from gitmill.cli.task_list import print_tasks
from gitmill.hints import Gitmill

task = typer.Typer(add_completion=False, no_args_is_help=False, help="Tasks: create, read, decide.")

Id = Annotated[str, typer.Argument(help="Id of the task, or its beginning.", metavar="ID")]


@task.callback(invoke_without_command=True)
def bare(context: typer.Context) -> None:
    """List tasks when no verb is given."""
    if context.invoked_subcommand is None:
        print_tasks()


@task.command("list")
def list_tasks(
    status: Annotated[
        list[str] | None, typer.Option("-s", "--status", help="Only these. Repeatable.")
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Ended ones too.")] = False,
) -> None:
    """List tasks, the open ones unless `--all`."""
    print_tasks(status or (), everything=everything)


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
    shown = Gitmill("task", "show", item.id)
    output.next_step(*(command for command in session.after(item) if command != shown))


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
