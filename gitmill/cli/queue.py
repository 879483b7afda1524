"""`gitmill queue …`: list, change and land the queue."""

from __future__ import annotations

from typing import Annotated

import typer

from gitmill.cli import output, session
from gitmill.errors import Exit, NothingToDoError
from gitmill.hints import Gitmill, Hint

queue = typer.Typer(add_completion=False, no_args_is_help=False, help="The merge queue.")

Ids = Annotated[list[str] | None, typer.Argument(help="Only these.", metavar="[ID]...")]
Id = Annotated[str, typer.Argument(help="Id of the task, or its beginning.", metavar="ID")]


@queue.callback(invoke_without_command=True)
def bare(context: typer.Context) -> None:
    """List the queue when no verb is given."""
    if context.invoked_subcommand is None:
        list_queue()


@queue.command("list")
def list_queue() -> None:
    """List what is landing, what is queued in its order, and what is approved."""
    from gitmill.core.lifecycle import Status
    from gitmill.core.queue import order
    from gitmill.flows import show

    snapshot = show.read(session.mill())
    queued = order(snapshot.items)
    landing = [i for i in snapshot.items.values() if i.status is Status.LANDING]
    approved = [i for i in snapshot.items.values() if i.status is Status.APPROVED]
    entries = [("landing", item) for item in landing]
    entries += [(str(number), item) for number, item in enumerate(queued, 1)]
    entries += [("approved", item) for item in approved]
    rows = [f"{position:>8}  {item.id}  {item.title}" for position, item in entries]
    if snapshot.control.queue_paused:
        rows.insert(0, f"{output.style('paused', 'warn')}: {snapshot.control.queue_reason}")
    output.answer(
        rows,
        {
            "paused": snapshot.control.queue_paused,
            "reason": snapshot.control.queue_reason,
            "landing": [session.as_json(item) for item in landing],
            "queued": [session.as_json(item) for item in queued],
            "approved": [session.as_json(item) for item in approved],
        },
    )
    if not entries:
        output.print_line("the queue is empty")
    output.next_step(Gitmill("queue", "land") if queued or approved else Gitmill("run"))


@queue.command()
def add(item_id: Id) -> None:
    """Queue an approved task."""
    from gitmill.flows.land_queue import enqueue

    mill = session.mill()
    name = session.resolve(mill, item_id)
    enqueue(mill, name)
    session.answer_item(mill.snapshot().item(name), f"{name} is queued", Gitmill("queue", "land"))


@queue.command()
def remove(item_id: Id) -> None:
    """Take a task out of the queue; it stays approved."""
    from gitmill.flows.land_queue import dequeue

    mill = session.mill()
    name = session.resolve(mill, item_id)
    dequeue(mill, name)
    session.answer_item(
        mill.snapshot().item(name),
        f"{name} is approved, not queued, until the next run",
    )


@queue.command()
def land(ids: Ids = None) -> int:
    """Land what is approved or queued: replay, check exactly that commit, move the target."""
    from gitmill.cli.show import MOVING
    from gitmill.core.board import moving_target
    from gitmill.core.lifecycle import Status
    from gitmill.flows import show
    from gitmill.flows.anchor import anchor_landings
    from gitmill.flows.land_queue import land_queue

    mill, progress = session.mill(), output.Progress()
    wanted = [session.resolve(mill, typed) for typed in ids or ()]
    items = land_queue(mill, progress.landing, only=wanted)
    if not items:
        raise NothingToDoError(
            "nothing is approved or queued", hints=[Hint("see all items with", Gitmill("status"))]
        )
    show.redraw(mill)
    anchor_landings(mill, items, output.print_line)
    not_landed = [item for item in items if item.status not in (Status.LANDED, Status.DONE)]
    queued = [item for item in not_landed if item.status is Status.QUEUED]
    moved = [item for item in queued if item.red_target is None]
    code = Exit.PERSON if len(not_landed) > len(moved) else Exit.BUSY if moved else Exit.OK
    output.answer([], {"items": [session.as_json(item) for item in items], "exit": int(code)})
    for item in items:
        result = f" as {item.landed[:10]}" if item.landed else f": {item.reason}"
        output.print_line(f"{item.id} {item.status.value}{result}")
    if why := moving_target(moved):
        output.print_line(f"{MOVING}: {why}")
    output.next_step(*(session.after(not_landed[0]) if not_landed else (Gitmill("status"),)))
    return int(code)


@queue.command()
def pause(message: Annotated[str, typer.Option("-m", "--message", help="Why.")] = "") -> None:
    """Stop landing, in every clone."""
    from gitmill.flows.pause import pause_queue

    pause_queue(session.mill(), message)
    output.answer([], {"paused": True})
    output.print_line("the queue is paused")
    output.next_step(Gitmill("queue", "resume"))


@queue.command()
def resume() -> None:
    """Start landing again, in every clone."""
    from gitmill.flows.pause import resume_queue

    resume_queue(session.mill())
    output.answer([], {"paused": False})
    output.print_line("the queue is resumed")
    output.next_step(Gitmill("queue", "land"))
