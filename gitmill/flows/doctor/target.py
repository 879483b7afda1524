"""The target, its checkout, and the policy there: sandbox, loops, checks, agents."""

from __future__ import annotations

import re
import shlex

from gitmill import process
from gitmill.agents import base as agents
from gitmill.agents.base import Probe
from gitmill.config import Policy
from gitmill.errors import CheckoutBlockedError, GitmillError, SandboxMissingError
from gitmill.flows.doctor.diagnosis import Diagnoses, note, ok, problem, problem_of, warning
from gitmill.git import trees
from gitmill.git.checkout import checkout_of, git_at, refuse_busy
from gitmill.hints import Gitmill, Hint, Shell
from gitmill.mill import Mill
from gitmill.plans.frozen import compile_at
from gitmill.plans.policy import POLICY, policy_at
from gitmill.store.snapshot import Snapshot
from gitmill.workspace import sandbox

_UNDER_WAY = {"MERGE_HEAD": "merge", "CHERRY_PICK_HEAD": "cherry-pick", "REVERT_HEAD": "revert"}


def target(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose the target branch, and the checkout that landings update."""
    ref = mill.target_ref(now)
    try:
        tip = mill.target_tip(now)
        refuse_busy(mill.repository, ref)
    except CheckoutBlockedError as error:
        yield warning(
            f"{error.message.partition(';')[0]}: nothing lands until this is resolved", *error.hints
        )
        return
    except GitmillError as error:
        yield problem_of(error)
        return
    name = now.control.target
    checkout = checkout_of(mill.repository, ref, pool=mill.pool.folder)
    if checkout is None:
        yield ok(f"{name} at {tip[:10]}, not checked out")
        return
    for mark, operation in _UNDER_WAY.items():
        if (git_at(checkout).git_dir / mark).exists():
            yield warning(
                f"{checkout.path} is in the middle of a {operation}: nothing lands until it ends",
                Hint("see", Shell(f"git -C {shlex.quote(str(checkout.path))} status")),
            )
            return
    yield ok(f"{name} at {tip[:10]}, checked out in {checkout.path}")


def policy(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose whether the policy exists, can be read and is in force."""
    tip, top = mill.target_tip(now), mill.repository.top
    committed = trees.read_file(mill.store.backend, mill.tree_of(tip), POLICY)
    path = top / POLICY if top else None
    draft = path.read_bytes() if path and path.is_file() else None
    try:
        policy_at(mill, tip)
    except GitmillError as error:
        yield problem_of(error)
        return
    commit = Hint(Shell(f"git add .gitmill && git commit -m 'Add gitmill policy' -- {POLICY}"))
    if committed is None and draft is not None:
        yield warning(f"{POLICY} is not committed on {now.control.target}, so it is not in force",
                      commit)  # fmt: skip
    elif committed is None:
        yield note(
            "there is none: the only checks are the criteria of each task", Hint(Gitmill("init"))
        )
    elif draft is not None and draft != committed:
        yield note(
            f"{POLICY} in the checkout differs from the one in force, on {now.control.target}",
            Hint("see", Shell(f"git diff {now.control.target} -- {POLICY}")),
        )
    else:
        yield ok(f"{POLICY} at {tip[:10]}")


def enforcement(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose whether the sandbox can be enforced as policy and preferences require."""
    policy = policy_at(mill, mill.target_tip(now))
    try:
        mark = sandbox.enforcement(mill, policy)
    except SandboxMissingError as missing:
        yield problem_of(missing)
        return
    if mark == sandbox.OFF:
        switch = "git config gitmill.sandbox"
        own = mill.repository.preferences.get("sandbox") == "off"
        yield note(f"switched off by {switch if own else POLICY}: agents, scripts and checks run "
                   "as you", Hint(Shell(f"{switch} auto")))  # fmt: skip
    elif mark == sandbox.ENFORCED:
        network = policy.sandbox.network.value
        yield ok(f"{sandbox.wanted(mill, policy).value}; the network of checks is {network}")


def loops(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose whether mode, loops and policy compile."""
    plan = compile_at(mill, mill.target_tip(now))
    yield ok(f"compile to {plan.hash12}: {' → '.join(stage.name for stage in plan.stages)}")


def checks(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose whether the programs of checks and set-up are installed."""
    tip = mill.target_tip(now)
    policy = policy_at(mill, tip)
    commands = {f"check {name}": check.command for name, check in (policy.checks or {}).items()}
    commands |= {f"set-up {n}": line for n, line in enumerate(policy.worktree.setup, 1)}
    missing = {
        name: program
        for name, command in commands.items()
        if (program := _program(command)) and not _is_installed(mill, policy, tip, program)
    }
    for name, program in missing.items():
        yield warning(f"{name} begins with {program}, which is not on PATH",
                      Hint(f"install it, or fix {name} in {POLICY}"))  # fmt: skip
    if not missing:
        names = ", ".join(policy.checks or ()) or "none in the policy"
        yield ok(f"{names}; their programs are installed")


def _program(command: str) -> str:
    """Return the first program of a command line, empty if only a shell can work it out."""
    try:
        words = shlex.split(command, comments=True)
    except ValueError:
        return ""
    first = next((word for word in words if not re.match(r"\w+=", word)), "")
    return first if re.fullmatch(r"[\w./+-]+", first) else ""


def _is_installed(mill: Mill, policy: Policy, tip: str, program: str) -> bool:
    if "/" in program and not program.startswith("/"):
        # The set-up may create the program.
        inside = trees.find(mill.store.backend, mill.tree_of(tip), program.removeprefix("./"))
        return bool(policy.worktree.setup) or inside is not None
    env = process.scrubbed(policy.worktree.env)
    command = ("/bin/sh", "-c", 'command -v -- "$1"', "sh", program)
    return process.run(command, env=env, check=False).returncode == 0


def programs(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose the agents that the plan uses, and the others that the policy names."""
    tip = mill.target_tip(now)
    stages = [stage for stage in compile_at(mill, tip).stages if stage.agents]
    used = {a.name: a.command for s in stages for a in s.agents}
    others = {n: a.command for n, a in policy_at(mill, tip).agents.items() if a.command}
    probes = {
        name: agents.program(name, command).probe({"command": command})
        for name, command in (others | used).items()
    }
    installed = {name for name, probe in probes.items() if probe.found}
    without = [s for s in stages if not installed & {agent.name for agent in s.agents}]
    for stage in without:
        names = [agent.name for agent in stage.agents]
        text = f"{names[0]} is missing: {probes[names[0]].detail}"
        if len(names) > 1:
            text = f"no agent of {stage.name} is installed: {', '.join(names)}"
        yield problem(text, Hint(Gitmill("agent", "list")))
    reported = {agent.name for stage in without for agent in stage.agents}
    for name in sorted(probes.keys() - installed - reported):
        why = "other agents have its roles" if name in used else "no stage uses it"
        yield note(f"{name} is missing, but {why}: {probes[name].detail}")
    for name in sorted(installed & used.keys()):
        yield from _doubts(name, probes[name])
    if installed:
        yield ok(f"{', '.join(sorted(installed))} found")


def _doubts(name: str, probe: Probe) -> Diagnoses:
    """Diagnose an installed agent that might not work."""
    attempt = Hint(Gitmill("agent", "try", name))
    if not probe.supported:
        text = f"{name} {probe.version} was not tested with gitmill: {probe.detail}"
        yield warning(text, attempt)
    elif probe.signed_in is False:
        yield warning(f"{name} is {probe.detail.partition('; ')[2] or 'not signed in'}", attempt)
