"""The verbs of a day: status, run, undo, stop, recover, pause, resume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gitmill.cli import output, session
from gitmill.errors import Exit, NotNowError, UsageError

if TYPE_CHECKING:
    from gitmill.flows.run import RunRequest
    from gitmill.history.undo_target import UndoTarget
    from gitmill.mill import Mill

verbs = typer.Typer(add_completion=False, no_args_is_help=True)


@verbs.callback()
def _verbs() -> None:
    """Commands that are one word."""


@verbs.command()
def status() -> None:
    """Show what runs, what waits for you, what is next."""
    from gitmill.attempts.budget import day_budget
    from gitmill.attempts.cooldown import cooling
    from gitmill.cli import fast_status
    from gitmill.flows import show

    here = session.mill()
    snapshot = show.read(here)
    board = show.board(snapshot)
    for problem in snapshot.broken.values():
        output.print_line(f"warning: {problem.message}; it is left out until it is mended")
    if output.past:
        fast_status.tell(board, here.repository.private)
        return
    budget = day_budget(here, snapshot)
    if not snapshot.broken and not budget:  # what the day has cost is not of the state alone
        fast_status.keep(here.repository.private, snapshot.commit, board)
    cold = list(cooling(here).values())
    fast_status.tell(board, here.repository.private, cold, budget)


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
    here, progress = session.mill(), output.Progress()
    order = flow.RunRequest([session.resolve(here, typed) for typed in ids or ()], through, limit)
    if dry:
        return _dry_run(here, order)
    summary = flow.run(here, order, progress.stage, progress.landing)
    show.redraw(here)
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
    """Return why an item could not begin, as `--json` has it."""
    until = error.until.isoformat().replace("+00:00", "Z") if error.until else None
    return {"item": item_id, "error": error.slug, "message": error.message,
            "evidence": list(error.evidence), "until": until}  # fmt: skip


def _dry_run(here: Mill, order: RunRequest) -> int:
    from gitmill.flows.dry_run import preview

    lines, told = [], []
    for one in preview(here, order):
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
        str, typer.Argument(help="Of this item; else of your own last event.", metavar="[ID]")
    ] = "",
    through: Annotated[
        str, typer.Option("--through", help="How far to take a revert: approved or landed.")
    ] = "landed",
    criterion: Annotated[
        list[str] | None,
        typer.Option("--criterion", help="What a revert must pass: `$ command`. Repeatable."),
    ] = None,
) -> int:
    """Take back an item's last event; what has landed is reverted through the queue."""
    from gitmill.history.undo import undo_event
    from gitmill.history.undo_target import target_for_item, target_for_person

    if through not in ("approved", "landed"):
        raise UsageError(f"--through is approved or landed, not {through}")
    here = session.mill()
    found = (
        target_for_item(here, session.resolve(here, item_id))
        if item_id
        else target_for_person(here)
    )
    output.print_line(f"undoing {found.last.subject}")
    if found.landed:
        return _undo_landing(here, found, through, criterion or ())
    if not found.record.item:
        return _undo_control(here, found)
    item = undo_event(here, found)
    told = {"undone": list(found.ids), "event": found.record.event, "item": session.as_json(item)}
    output.answer([], told)
    place = f" at {item.stage}" if item.stage and not item.is_final else ""
    before = found.first.record.status_before if found.first.record else ""
    as_before = ", as before" if before == item.status.value else ""
    output.print_line(f"{item.id} is {item.status.value}{place}{as_before}")
    if found.record.event == "claimed":
        output.print_line(f"what you wrote stays; `gitmill task take {item.id}` goes on with it")
    output.next_step(*session.after(item))
    return 0


def _undo_control(here: Mill, found: UndoTarget) -> int:
    from gitmill.people.control import undo_control_event

    undo_control_event(here, found.last)
    control = here.snapshot().control
    told = {"undone": list(found.ids), "event": found.record.event,
            "paused": control.paused, "queue_paused": control.queue_paused}  # fmt: skip
    output.answer([], told)
    work, queue = (("is paused" if on else "goes on") for on in (control.paused,
                                                                control.queue_paused))  # fmt: skip
    output.print_line(f"work {work}; the queue {queue}")
    output.next_step("gitmill status")
    return 0


def _undo_landing(here: Mill, found: UndoTarget, through: str, criteria: Sequence[str]) -> int:
    from gitmill.core.lifecycle import Status
    from gitmill.flows import show
    from gitmill.flows.land_queue import land_queue
    from gitmill.history.undo_target import target_for_item
    from gitmill.landing.detect_reverts import detect_reverts
    from gitmill.landing.revert import revert

    detect_reverts(here)  # it may have been taken back already
    found = target_for_item(here, found.record.item)
    made = revert(here, found.record.item, found.record.extra.get("Onto", ""), criteria=criteria)
    from gitmill.plans.policy import policy_now

    auto = policy_now(here).land.auto
    if through == "landed" and auto:
        output.print_line(f"{made.id} takes {found.record.item} back and lands now")
        land_queue(here, output.Progress().landing, only=[made.id])
        show.redraw(here)
    after = here.snapshot()
    item, made = after.item(found.record.item), after.item(made.id)
    ended = made.status in (Status.LANDED, Status.DONE)
    code = Exit.OK if ended or through == "approved" or not auto else Exit.PERSON
    told = {"undone": list(found.ids), "event": found.record.event, "item": session.as_json(item),
            "revert": session.as_json(made), "exit": int(code)}  # fmt: skip
    output.answer([made.id], told)
    where = f" as {made.landed[:10]}" if made.landed else f": {made.reason}" if made.reason else ""
    output.print_line(f"{made.id} is {made.status.value}{where}; {item.id} is {item.status.value}")
    output.next_step(*session.after(item if ended else made))
    return int(code)


@verbs.command()
def stop() -> None:
    """End the work of this machine now: agents end, leases are given back."""
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
    """Put right what killed processes left behind."""
    from gitmill.flows.recover import recover as recover_flow

    done = recover_flow(session.mill())
    output.answer(done, {"done": done})
    if not done:
        output.print_line("there was nothing to put right")
    output.next_step("gitmill status")


@verbs.command()
def pause(
    message: Annotated[str, typer.Option("-m", "--message", help="Why.")] = "",
) -> None:
    """Let no new attempt begin, in any clone; what runs goes on."""
    from gitmill.people.control import pause as pause_flow

    pause_flow(session.mill(), message)
    output.answer([], {"paused": True})
    output.print_line("paused; attempts under way go on")
    output.next_step("gitmill resume")


@verbs.command()
def resume() -> None:
    """Let new attempts begin again."""
    from gitmill.people.control import resume as resume_flow

    resume_flow(session.mill())
    output.answer([], {"paused": False})
    output.print_line("work goes on")
    output.next_step("gitmill run")
