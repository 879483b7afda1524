"""The daily verbs: status, run, undo, stop, recover, pause, resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gitmill.cli import command_line, output, session
from gitmill.errors import NotNowError, UsageError
from gitmill.hints import Gitmill, Hint

if TYPE_CHECKING:
    from gitmill.flows.run import RunRequest
    from gitmill.flows.run_summary import Summary
    from gitmill.flows.undo import Undone
    from gitmill.mill import Mill

verbs = typer.Typer(add_completion=False, no_args_is_help=True)


@verbs.callback()
def _verbs() -> None:
    """Commands of one word."""


@verbs.command()
def status() -> None:
    """Show what is running, what waits for you, what is next."""
    from gitmill.cli import fast_status
    from gitmill.core.red_target import sentence
    from gitmill.flows.status import status as status_flow

    mill = session.mill()
    now = status_flow(mill, past=bool(output.past))
    for problem in now.broken.values():
        output.print_line(f"warning: {problem.message}; skipped until it is fixed")
    private = mill.repository.private
    if not output.past and not now.broken and not now.budget and not now.red:
        # The board is stored by state commit; the day's budget also depends on the day, a red check
        # on the target.
        fast_status.store_board(private, now.commit, now.board)
    red = {check: sentence(check, now.target) for check in now.red}
    fast_status.show(now.board, private, now.cooling, now.budget, red)


@verbs.command()
def run(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Only these tasks.", metavar="[ID]...")
    ] = None,
    through: Annotated[
        str, typer.Option("--through", help="Where to stop: approved or landed.")
    ] = "landed",
    limit: Annotated[
        int,
        typer.Option("-n", "--limit", min=0, help="At most N tasks; 0 is no limit.", metavar="N"),
    ] = 0,
    *,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing: print the prompts and the refs.")
    ] = False,
) -> int:
    """Carry ready tasks through their loop and land the approved ones."""
    from gitmill.flows import run as flow
    from gitmill.flows import show
    from gitmill.flows.anchor import anchor_landings

    if through not in ("approved", "landed"):
        raise UsageError(f"--through is approved or landed, not {through}")
    mill, progress = session.mill(), output.Progress()
    wanted = [session.resolve(mill, typed) for typed in ids or ()]
    request = flow.RunRequest(wanted, through, limit)
    if dry:
        return _dry_run(mill, request)
    summary = flow.run(mill, request, progress.stage, progress.landing)
    show.redraw(mill)
    anchor_landings(mill, summary.items.values(), output.print_line)
    output.answer([], _run_json(summary))
    _print_summary(summary)
    return int(summary.code)


def _print_summary(summary: Summary) -> None:
    """Print the items of a run by status, why others did not run, and the next command."""
    from gitmill.cli.show import MOVING

    items = list(summary.items.values())
    ids: dict[str, list[str]] = {}
    for item in items:
        ids.setdefault(item.status.value, []).append(item.id)
    statuses = "; ".join(f"{status} {' '.join(ended)}" for status, ended in ids.items())
    attempts = f"{summary.attempts} attempt" + ("" if summary.attempts == 1 else "s")
    output.print_line(f"{statuses} ({attempts})")
    stopped = filter(None, (summary.held, summary.first_not_now))
    for problem in (*summary.untrusted.values(), *stopped) if not output.settings.json else ():
        output.error(problem)
    if summary.moving:
        output.print_line(f"{MOVING}: {summary.moving}")
    urgent = next((i for i in items if i.status.value in ("waiting", "blocked")), None)
    first = urgent or next((i for i in items if not i.is_final and not summary.not_now), None)
    output.next_step(*(session.after(first) if first else (Gitmill("status"),)))


def _run_json(summary: Summary) -> dict[str, Any]:
    return {
        "items": [session.as_json(item) for item in summary.items.values()],
        "attempts": summary.attempts,
        "exit": int(summary.code),
        "held": summary.held.message if summary.held else None,
        "moving": summary.moving or None,
        "resting": [_not_now_json(name, error) for name, error in summary.not_now.items()],
        "untrusted": list(summary.untrusted),
    }


def _not_now_json(item_id: str, error: NotNowError) -> dict[str, Any]:
    """Return why an item could not start, in the form of `--json`."""
    until = error.until.isoformat().replace("+00:00", "Z") if error.until else None
    return {"item": item_id, "error": error.slug, "message": error.message,
            "evidence": list(error.evidence), "until": until}  # fmt: skip


def _dry_run(mill: Mill, request: RunRequest) -> int:
    from gitmill.flows.dry_run import preview

    lines, entries = [], []
    for attempt in preview(mill, request):
        item = attempt.item
        agent = attempt.agent.name if attempt.agent else "gitmill"
        model = attempt.agent.model if attempt.agent else ""
        shown_model = f", model {model}" if model else ""
        session_ = f", resumes session {attempt.session}" if attempt.session else ""
        lines += [
            f"{item.id}  {item.title}",
            f"  stages  {' → '.join(attempt.stages)}",
            f"  agent   {agent} ({attempt.permission}{shown_model}{session_})",
            f"  moves   {', '.join(attempt.refs)}",
            *([f"  lands   {', '.join(attempt.landing)}"] if attempt.landing else []),
            f"  sends   {len(attempt.prompt):,} characters:",
            *(f"    {line}" for line in attempt.prompt.splitlines()),
            "",
        ]
        entries.append({
            "item": item.id, "title": item.title, "stages": attempt.stages, "agent": agent,
            "model": model, "permission": attempt.permission, "session": attempt.session,
            "refs": attempt.refs, "landing": attempt.landing, "prompt": attempt.prompt,
        })  # fmt: skip
    output.answer(lines[:-1], {"would": entries})
    output.print_line("nothing was done")
    output.next_step(Gitmill("run"))
    return 0


@verbs.command()
def undo(
    item_id: Annotated[
        str, typer.Argument(help="The item; your own last event when left out.", metavar="[ID]")
    ] = "",
    through: Annotated[
        str, typer.Option("--through", help="Where to stop a revert: approved or landed.")
    ] = "landed",
    criterion: Annotated[
        list[str] | None,
        typer.Option("--criterion", help="Criterion of a revert: `$ command`. Repeatable."),
    ] = None,
) -> int:
    """Undo an item's last event; a landing is reverted through the queue."""
    from gitmill.flows import undo as flow
    from gitmill.flows.anchor import anchor_landings

    if through not in ("approved", "landed"):
        raise UsageError(f"--through is approved or landed, not {through}")
    mill = session.mill()
    target = flow.find_target(mill, item_id)
    output.print_line(f"undoing {target.last.subject}")
    if not target.landed:
        return _show_undone(mill, flow.undo(mill, target))
    undone = flow.undo_landing(
        mill, target, output.Progress().landing, through=through, criteria=criterion or (),
        report=lambda task: output.print_line(f"{task.id} reverts {target.record.item}; landing"),
    )  # fmt: skip
    anchor_landings(mill, [undone.revert] if undone.revert else [], output.print_line)
    return _show_revert(undone)


def _show_undone(mill: Mill, undone: Undone) -> int:
    target, item = undone.target, undone.item
    entry = {"undone": list(target.ids), "event": target.record.event}
    if item is None:
        control = mill.snapshot().control
        work, queue = control.paused, control.queue_paused
        output.answer([], entry | {"paused": work, "queue_paused": queue})
        states = ["is paused" if paused else "continues" for paused in (work, queue)]
        output.print_line(f"work {states[0]}; the queue {states[1]}")
        output.next_step(Gitmill("status"))
        return 0
    output.answer([], entry | {"item": session.as_json(item)})
    stage = f" at {item.stage}" if item.stage and not item.is_final else ""
    before = target.first.record.status_before if target.first.record else ""
    as_before = ", as before" if before == item.status.value else ""
    output.print_line(f"{item.id} is {item.status.value}{stage}{as_before}")
    if target.record.event == "claimed":
        hint = Hint("your worktree stays; continue with", Gitmill("task", "take", item.id))
        output.print_line(command_line.sentence(hint))
    output.next_step(*session.after(item))
    return 0


def _show_revert(undone: Undone) -> int:
    target, item, task = undone.target, undone.item, undone.revert
    assert item is not None
    assert task is not None
    output.answer([task.id], {
        "undone": list(target.ids), "event": target.record.event, "item": session.as_json(item),
        "revert": session.as_json(task), "exit": int(undone.exit),
    })  # fmt: skip
    result = f" as {task.landed[:10]}" if task.landed else f": {task.reason}" if task.reason else ""
    output.print_line(f"{task.id} is {task.status.value}{result}; {item.id} is {item.status.value}")
    output.next_step(*session.after(item if task.status.value in ("landed", "done") else task))
    return int(undone.exit)


@verbs.command()
def stop() -> None:
    """Stop all work on this machine: agents end, leases are released."""
    from gitmill.flows.stop import stop as stop_flow

    items = stop_flow(session.mill())
    output.answer([], {"stopped": [item.id for item in items]})
    if items:
        output.print_line("stopped " + " ".join(item.id for item in items))
        output.next_step(Gitmill("run"))
    else:
        output.print_line("nothing was running on this machine")


@verbs.command()
def recover() -> None:
    """Clean up after killed processes."""
    from gitmill.flows.recover import recover as recover_flow

    actions = recover_flow(session.mill())
    output.answer(actions, {"done": actions})
    if not actions:
        output.print_line("nothing to clean up")
    output.next_step(Gitmill("status"))


@verbs.command()
def pause(
    message: Annotated[str, typer.Option("-m", "--message", help="Why.")] = "",
) -> None:
    """Stop starting attempts, in every clone; running ones continue."""
    from gitmill.flows.pause import pause as pause_flow

    pause_flow(session.mill(), message)
    output.answer([], {"paused": True})
    output.print_line("paused; running attempts continue")
    output.next_step(Gitmill("resume"))


@verbs.command()
def resume() -> None:
    """Start attempts again, in every clone."""
    from gitmill.flows.pause import resume as resume_flow

    resume_flow(session.mill())
    output.answer([], {"paused": False})
    output.print_line("resumed; attempts start again")
    output.next_step(Gitmill("run"))
