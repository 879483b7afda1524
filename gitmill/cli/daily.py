"""The daily verbs: status, run, undo, stop, recover, pause, resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gitmill.cli import output, session
from gitmill.errors import NotNowError, UsageError

if TYPE_CHECKING:
    from gitmill.flows.run import RunRequest
    from gitmill.flows.undo import Undone
    from gitmill.mill import Mill

verbs = typer.Typer(add_completion=False, no_args_is_help=True)


@verbs.callback()
def _verbs() -> None:
    """Commands that are one word."""


@verbs.command()
def status() -> None:
    """Show what runs, what waits for you, what is next."""
    from gitmill.cli import fast_status
    from gitmill.flows.status import status as status_flow

    mill = session.mill()
    now = status_flow(mill, past=bool(output.past))
    for problem in now.broken.values():
        output.print_line(f"warning: {problem.message}; skipped until it is fixed")
    private = mill.repository.private
    if not output.past and not now.broken and not now.budget:
        # The board is stored by state commit; the day's budget depends on more than the state.
        fast_status.keep(private, now.commit, now.board)
    fast_status.show(now.board, private, now.cooling, now.budget)


@verbs.command()
def run(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Only these tasks.", metavar="[ID]...")
    ] = None,
    through: Annotated[
        str, typer.Option("--through", help="Where to stop: approved or landed.")
    ] = "landed",
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=0, help="At most so many tasks; 0 is all.")
    ] = 0,
    *,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Do nothing: print the prompts and the refs.")
    ] = False,
) -> int:
    """Carry ready tasks through their loop and land what gets approved."""
    from gitmill.flows import run as flow
    from gitmill.flows import show

    if through not in ("approved", "landed"):
        raise UsageError(f"--through is approved or landed, not {through}")
    mill, progress = session.mill(), output.Progress()
    order = flow.RunRequest([session.resolve(mill, typed) for typed in ids or ()], through, limit)
    if dry:
        return _dry_run(mill, order)
    summary = flow.run(mill, order, progress.stage, progress.landing)
    show.redraw(mill)
    items = list(summary.items.values())
    output.answer(
        [],
        {
            "items": [session.as_json(item) for item in items],
            "attempts": summary.attempts,
            "exit": int(summary.code),
            "held": summary.held.message if summary.held else None,
            "resting": [_resting(name, error) for name, error in summary.resting.items()],
            "untrusted": list(summary.untrusted),
        },
    )
    count = f"{summary.attempts} attempt" + ("" if summary.attempts == 1 else "s")
    ended: dict[str, list[str]] = {}
    for item in items:
        ended.setdefault(item.status.value, []).append(item.id)
    output.print_line("; ".join(f"{word} {' '.join(found)}" for word, found in ended.items())
               + f" ({count})")  # fmt: skip
    stopped = [*summary.untrusted.values(), *filter(None, (summary.held, summary.rests))]
    for problem in stopped if not output.settings.json else ():
        output.error(problem)
    urgent = next((i for i in items if i.status.value in ("waiting", "blocked")), None)
    first = urgent or next((i for i in items if not i.is_final and not summary.resting), None)
    output.next_step(*(session.after(first) if first else ("gitmill status",)))
    return int(summary.code)


def _resting(item_id: str, error: NotNowError) -> dict[str, Any]:
    """Return why an item could not start, in the form of `--json`."""
    until = error.until.isoformat().replace("+00:00", "Z") if error.until else None
    return {"item": item_id, "error": error.slug, "message": error.message,
            "evidence": list(error.evidence), "until": until}  # fmt: skip


def _dry_run(mill: Mill, order: RunRequest) -> int:
    from gitmill.flows.dry_run import preview

    lines, told = [], []
    for one in preview(mill, order):
        agent = one.agent.name if one.agent else "gitmill"
        model = f", model {one.agent.model}" if one.agent and one.agent.model else ""
        goes_on = f", goes on with session {one.session}" if one.session else ""
        lines += [
            f"{one.item.id}  {one.item.title}",
            f"  stages  {' → '.join(one.stages)}",
            f"  agent   {agent} ({one.permission}{model}{goes_on})",
            f"  moves   {', '.join(one.refs)}",
            *([f"  lands   {', '.join(one.landing)}"] if one.landing else []),
            f"  sends   {len(one.prompt):,} characters:",
            *(f"    {line}" for line in one.prompt.splitlines()),
            "",
        ]
        told.append({
            "item": one.item.id, "title": one.item.title, "stages": one.stages, "agent": agent,
            "model": one.agent.model if one.agent else "", "permission": one.permission,
            "session": one.session, "refs": one.refs, "landing": one.landing,
            "prompt": one.prompt,
        })  # fmt: skip
    output.answer(lines[:-1], {"would": told})
    output.print_line("nothing was done")
    output.next_step("gitmill run")
    return 0


@verbs.command()
def undo(
    item_id: Annotated[
        str, typer.Argument(help="The item; else your own last event.", metavar="[ID]")
    ] = "",
    through: Annotated[
        str, typer.Option("--through", help="How far to take a revert: approved or landed.")
    ] = "landed",
    criterion: Annotated[
        list[str] | None,
        typer.Option("--criterion", help="What a revert must pass: `$ command`. Repeatable."),
    ] = None,
) -> int:
    """Undo an item's last event; a landing is reverted through the queue."""
    from gitmill.flows import undo as flow

    if through not in ("approved", "landed"):
        raise UsageError(f"--through is approved or landed, not {through}")
    mill = session.mill()
    target = flow.find_target(mill, item_id)
    output.print_line(f"undoing {target.last.subject}")
    if not target.landed:
        return _show_undone(mill, flow.undo(mill, target))
    return _show_revert(flow.undo_landing(
        mill, target, output.Progress().landing, through=through, criteria=criterion or (),
        report=lambda made: output.print_line(f"{made.id} reverts {target.record.item}; landing"),
    ))  # fmt: skip


def _show_undone(mill: Mill, undone: Undone) -> int:
    target, item = undone.target, undone.item
    entry = {"undone": list(target.ids), "event": target.record.event}
    if item is None:
        control = mill.snapshot().control
        work, queue = control.paused, control.queue_paused
        output.answer([], entry | {"paused": work, "queue_paused": queue})
        states = ["is paused" if stopped else "goes on" for stopped in (work, queue)]
        output.print_line(f"work {states[0]}; the queue {states[1]}")
        output.next_step("gitmill status")
        return 0
    output.answer([], entry | {"item": session.as_json(item)})
    stage = f" at {item.stage}" if item.stage and not item.is_final else ""
    before = target.first.record.status_before if target.first.record else ""
    as_before = ", as before" if before == item.status.value else ""
    output.print_line(f"{item.id} is {item.status.value}{stage}{as_before}")
    if target.record.event == "claimed":
        output.print_line(f"your worktree stays; continue with `gitmill task take {item.id}`")
    output.next_step(*session.after(item))
    return 0


def _show_revert(undone: Undone) -> int:
    target, item, made = undone.target, undone.item, undone.revert
    assert item is not None
    assert made is not None
    output.answer([made.id], {
        "undone": list(target.ids), "event": target.record.event, "item": session.as_json(item),
        "revert": session.as_json(made), "exit": int(undone.exit),
    })  # fmt: skip
    where = f" as {made.landed[:10]}" if made.landed else f": {made.reason}" if made.reason else ""
    output.print_line(f"{made.id} is {made.status.value}{where}; {item.id} is {item.status.value}")
    output.next_step(*session.after(item if made.status.value in ("landed", "done") else made))
    return int(undone.exit)


@verbs.command()
def stop() -> None:
    """Stop the work of this machine now: agents end, leases are released."""
    from gitmill.flows.stop import stop as stop_flow

    items = stop_flow(session.mill())
    output.answer([], {"stopped": [item.id for item in items]})
    if items:
        output.print_line("stopped " + " ".join(item.id for item in items))
        output.next_step("gitmill run")
    else:
        output.print_line("nothing was running on this machine")


@verbs.command()
def recover() -> None:
    """Clean up after killed processes."""
    from gitmill.flows.recover import recover as recover_flow

    done = recover_flow(session.mill())
    output.answer(done, {"done": done})
    if not done:
        output.print_line("there was nothing to clean up")
    output.next_step("gitmill status")


@verbs.command()
def pause(
    message: Annotated[str, typer.Option("-m", "--message", help="Why.")] = "",
) -> None:
    """Stop new attempts from starting, in every clone; running ones go on."""
    from gitmill.flows.pause import pause as pause_flow

    pause_flow(session.mill(), message)
    output.answer([], {"paused": True})
    output.print_line("paused; attempts under way go on")
    output.next_step("gitmill resume")


@verbs.command()
def resume() -> None:
    """Let new attempts start again."""
    from gitmill.flows.pause import resume as resume_flow

    resume_flow(session.mill())
    output.answer([], {"paused": False})
    output.print_line("work goes on")
    output.next_step("gitmill run")
