"""What gitmill's own state, the policy and what killed processes left can have wrong."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from gitmill import process
from gitmill.agents import base as agents
from gitmill.agents.base import Probe
from gitmill.config import Policy
from gitmill.errors import (
    BadDocumentError,
    CheckoutBlockedError,
    GitmillError,
    SandboxMissingError,
)
from gitmill.flows.doctor.diagnosis import Diagnoses, note, ok, problem, problem_of, warning
from gitmill.git import trees
from gitmill.git.checkout import checkout_of, git_at, refuse_busy
from gitmill.git.objects import read_commit
from gitmill.mill import Mill
from gitmill.plans.frozen import compile_at
from gitmill.plans.policy import POLICY, policy_at
from gitmill.store import layout
from gitmill.store.snapshot import Control, Snapshot
from gitmill.workspace import sandbox

_SKEW = 300.0  # seconds that two clocks may differ without harm
_SHOWN = 3
_UNDER_WAY = {"MERGE_HEAD": "merge", "CHERRY_PICK_HEAD": "cherry-pick", "REVERT_HEAD": "revert"}


def documents(mill: Mill, now: Snapshot) -> Diagnoses:
    """Whether the state branch can be read, to the last item."""
    try:
        _ = now.control.paused, now.control.queue_paused
    except BadDocumentError as unreadable:
        hint = "who wrote it: `git log gitmill/state -- control.md`"
        yield replace(problem_of(unreadable), hints=(*unreadable.hints, hint))
    for path, error in list(now.broken.items())[:_SHOWN]:
        yield warning(f"{error.message}; {path} is left out", *error.hints,
                      f"who wrote it: `git log gitmill/state -- {path}`")  # fmt: skip
    if len(now.broken) > _SHOWN:
        yield warning(f"and {len(now.broken) - _SHOWN} more files of items cannot be read")
    if not now.broken:
        yield ok(f"format {layout.FORMAT}, {len(now.items)} items at {now.commit[:10]}")
    place = checkout_of(mill.repository, layout.STATE, pool=mill.pool.folder)
    if place is not None:
        yield warning(
            f"gitmill/state is checked out in {place.path}; it is written without a work tree, so "
            "that one falls behind",
            f"switch it to another branch: `git -C {shlex.quote(str(place.path))} switch -`",
        )


def target(mill: Mill, now: Snapshot) -> Diagnoses:
    """Look at the branch that work lands on, and at the checkout that has to follow it."""
    ref = mill.target_ref(now)
    try:
        tip = mill.target_tip(now)
        refuse_busy(mill.repository, ref)
    except CheckoutBlockedError as error:
        yield warning(f"{error.message.partition(';')[0]}: until then nothing lands", *error.hints)
        return
    except GitmillError as error:
        yield problem_of(error)
        return
    name = now.control.target
    place = checkout_of(mill.repository, ref, pool=mill.pool.folder)
    if place is None:
        yield ok(f"{name} at {tip[:10]}, checked out nowhere")
        return
    for mark, doing in _UNDER_WAY.items():
        if (git_at(place).git_dir / mark).exists():
            yield warning(
                f"{place.path} is in the middle of a {doing}: until it ends nothing lands",
                f"see `git -C {shlex.quote(str(place.path))} status`",
            )
            return
    yield ok(f"{name} at {tip[:10]}, checked out in {place.path}")


def policy(mill: Mill, now: Snapshot) -> Diagnoses:
    """Whether there is a policy, whether it counts, and whether it can be read."""
    tip, top = mill.target_tip(now), mill.repository.top
    committed = trees.read_file(mill.store.backend, mill.tree_of(tip), POLICY)
    path = top / POLICY if top else None
    draft = path.read_bytes() if path and path.is_file() else None
    try:
        policy_at(mill, tip)
    except GitmillError as error:
        yield problem_of(error)
        return
    commit = f"`git add .gitmill && git commit -m 'Add gitmill policy' -- {POLICY}`"
    if committed is None and draft is not None:
        yield warning(f"{POLICY} is not committed on {now.control.target}, so it does not count",
                      commit)  # fmt: skip
    elif committed is None:
        yield note("there is none: the criteria of a task are its checks", "`gitmill init`")
    elif draft is not None and draft != committed:
        yield note(f"{POLICY} here differs from the one on {now.control.target}, which counts",
                   f"see `git diff {now.control.target} -- {POLICY}`")  # fmt: skip
    else:
        yield ok(f"{POLICY} at {tip[:10]}")


def enforcement(mill: Mill, now: Snapshot) -> Diagnoses:
    """Whether what policy and preferences say of the sandbox can be done here."""
    policy = policy_at(mill, mill.target_tip(now))
    try:
        word = sandbox.enforcement(mill, policy)
    except SandboxMissingError as missing:
        yield problem_of(missing)
        return
    if word == sandbox.OFF:
        switch = "git config gitmill.sandbox"
        own = mill.repository.preferences.get("sandbox") == "off"
        yield note(f"switched off by {switch if own else POLICY}: agents, scripts and checks run "
                   "as you", f"`{switch} auto`")  # fmt: skip
    elif word == sandbox.ENFORCED:
        network = policy.sandbox.network.value
        yield ok(f"{sandbox.wanted(mill, policy).value}; the network of checks is {network}")


def loops(mill: Mill, now: Snapshot) -> Diagnoses:
    """Whether mode, loops and policy make a plan."""
    plan = compile_at(mill, mill.target_tip(now))
    yield ok(f"compile to {plan.hash12}: {' → '.join(stage.name for stage in plan.stages)}")


def checks(mill: Mill, now: Snapshot) -> Diagnoses:
    """Whether the programs of checks and set-up are there."""
    tip = mill.target_tip(now)
    policy = policy_at(mill, tip)
    named = {f"check {name}": check.command for name, check in (policy.checks or {}).items()}
    named |= {f"set-up {n}": line for n, line in enumerate(policy.worktree.setup, 1)}
    missing = {
        name: program
        for name, command in named.items()
        if (program := _program(command)) and not _found(mill, policy, tip, program)
    }
    for name, program in missing.items():
        yield warning(f"{name} begins with {program}, which is not on PATH",
                      f"install it, or mend {name} in {POLICY}")  # fmt: skip
    if not missing:
        names = ", ".join(policy.checks or ()) or "none in the policy"
        yield ok(f"{names}; programs are found")


def _program(command: str) -> str:
    """Return the program that a command line begins with, empty where only a shell could say."""
    try:
        words = shlex.split(command, comments=True)
    except ValueError:
        return ""
    first = next((word for word in words if not re.match(r"\w+=", word)), "")
    return first if re.fullmatch(r"[\w./+-]+", first) else ""


def _found(mill: Mill, policy: Policy, tip: str, program: str) -> bool:
    if "/" in program and not program.startswith("/"):
        # What a set-up makes is there only after it.
        inside = trees.find(mill.store.backend, mill.tree_of(tip), program.removeprefix("./"))
        return bool(policy.worktree.setup) or inside is not None
    env = process.scrubbed(policy.worktree.env)
    asked = ("/bin/sh", "-c", 'command -v -- "$1"', "sh", program)
    return process.run(asked, env=env, check=False).returncode == 0


def programs(mill: Mill, now: Snapshot) -> Diagnoses:
    """Whether the agents that the plan names can run, and the others that the policy names."""
    tip = mill.target_tip(now)
    stages = [stage for stage in compile_at(mill, tip).stages if stage.agents]
    used = {a.name: a.command for s in stages for a in s.agents}
    others = {n: a.command for n, a in policy_at(mill, tip).agents.items() if a.command}
    probes = {
        name: agents.program(name, command).probe({"command": command})
        for name, command in (others | used).items()
    }
    found = {name for name, probe in probes.items() if probe.found}
    idle = [s for s in stages if not found & {agent.name for agent in s.agents}]
    for stage in idle:
        names = [agent.name for agent in stage.agents]
        text = f"{names[0]} is missing: {probes[names[0]].detail}"
        if len(names) > 1:
            text = f"no agent of {stage.name} is here: {', '.join(names)}"
        yield problem(text, "`gitmill agent list`")
    told = {agent.name for stage in idle for agent in stage.agents}
    for name in sorted(probes.keys() - found - told):
        why = "others of its roles are here" if name in used else "no stage uses it"
        yield note(f"{name} is missing, {why}: {probes[name].detail}")
    for name in sorted(found & used.keys()):
        yield from _doubts(name, probes[name])
    if found:
        yield ok(f"{', '.join(sorted(found))} found")


def _doubts(name: str, probe: Probe) -> Diagnoses:
    """Whether an agent that is found can be expected to work."""
    attempt = f"`gitmill agent try {name}`"
    if not probe.supported:
        what = f"{name} {probe.version} is not one that gitmill was tested with: {probe.detail}"
        yield warning(what, attempt)
    elif probe.signed_in is False:
        yield warning(f"{name} is {probe.detail.partition('; ')[2] or 'not signed in'}", attempt)


def stops(mill: Mill, now: Snapshot) -> Diagnoses:
    """Whether somebody has stopped work or the queue."""
    del mill
    control = now.control
    with suppress(BadDocumentError):  # told where the state is looked at
        yield from _stops(control)


def _stops(control: Control) -> Diagnoses:
    if control.paused:
        yield warning(f"work is paused: {control.reason or 'no reason given'}", "`gitmill resume`")
    if control.queue_paused:
        reason = control.queue_reason or "no reason given"
        yield warning(f"the queue is paused: {reason}", "`gitmill queue resume`")
    if not control.paused and not control.queue_paused:
        yield ok("nothing is paused")


def clock(mill: Mill, now: Snapshot) -> Diagnoses:
    """Whether this clock agrees with those that wrote the state: leases end by the clock."""
    wrote = read_commit(mill.store.backend, now.commit).seconds
    ahead = wrote - mill.now().timestamp()
    if ahead > _SKEW:
        when = datetime.fromtimestamp(wrote, UTC)
        yield warning(
            f"the state was written at {when:%Y-%m-%d %H:%M} UTC, which is still to come: this "
            "clock or another one is wrong, and leases end too early or too late",
            "compare with `date -u`; whose it was: `git log -1 gitmill/state`",
        )
    else:
        yield ok("no commit of the state is from the future")
