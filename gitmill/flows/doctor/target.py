"""The target, its checkout, and the policy there: sandbox, loops, checks, agents."""

from __future__ import annotations

import re
import shlex

from gitmill import process
from gitmill.agents import base as agents
from gitmill.agents.base import Probe
from gitmill.config import Policy
from gitmill.errors import (
    CheckoutBlockedError,
    GitmillError,
    SandboxMissingError,
)
from gitmill.flows.doctor.diagnosis import Diagnoses, note, ok, problem, problem_of, warning
from gitmill.git import trees
from gitmill.git.checkout import checkout_of, git_at, refuse_busy
from gitmill.mill import Mill
from gitmill.plans.frozen import compile_at
from gitmill.plans.policy import POLICY, policy_at
from gitmill.store.snapshot import Snapshot
from gitmill.workspace import sandbox

_UNDER_WAY = {"MERGE_HEAD": "merge", "CHERRY_PICK_HEAD": "cherry-pick", "REVERT_HEAD": "revert"}


def target(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose the target branch, and its checkout, which has to follow it."""
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
    """Whether the sandbox can be enforced as policy and preferences require."""
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
    """Whether the programs of checks and set-up are installed."""
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
                      f"install it, or fix {name} in {POLICY}")  # fmt: skip
    if not missing:
        names = ", ".join(policy.checks or ()) or "none in the policy"
        yield ok(f"{names}; programs are found")


def _program(command: str) -> str:
    """Return the first program of a command line, empty if only a shell could tell."""
    try:
        words = shlex.split(command, comments=True)
    except ValueError:
        return ""
    first = next((word for word in words if not re.match(r"\w+=", word)), "")
    return first if re.fullmatch(r"[\w./+-]+", first) else ""


def _found(mill: Mill, policy: Policy, tip: str, program: str) -> bool:
    if "/" in program and not program.startswith("/"):
        # The set-up may create the program.
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
    """Doubts whether an installed agent works."""
    attempt = f"`gitmill agent try {name}`"
    if not probe.supported:
        what = f"{name} {probe.version} is not one that gitmill was tested with: {probe.detail}"
        yield warning(what, attempt)
    elif probe.signed_in is False:
        yield warning(f"{name} is {probe.detail.partition('; ')[2] or 'not signed in'}", attempt)
