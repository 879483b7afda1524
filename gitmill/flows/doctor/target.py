"""The target, its checkout, and the policy there: sandbox, loops, checks, agents."""

from __future__ import annotations

import shlex

from gitmill import process, shells
from gitmill.agents import base as agents
from gitmill.agents.base import Probe
from gitmill.attempts.stage_types import all_types
from gitmill.config import INCLUDE, Policy, obsolete
from gitmill.core.red_target import red_checks, sentence
from gitmill.errors import CheckoutBlockedError, GitmillError, SandboxMissingError
from gitmill.flows.disk_lines import disk_lines
from gitmill.flows.doctor.diagnosis import Diagnoses, note, ok, problem, problem_of, warning
from gitmill.flows.run_candidates import red_target, waiting
from gitmill.git import trees
from gitmill.git.checkout import checkout_of, git_at, refuse_busy
from gitmill.hints import Blank, Gitmill, Hint, Shell
from gitmill.mill import Mill
from gitmill.plans.frozen import compile_at
from gitmill.plans.policy import POLICY, policy_at
from gitmill.store.snapshot import Snapshot
from gitmill.workspace import disk_limit, disk_use, lent_files, sandbox
from gitmill.workspace.mount_point import mount_point
from gitmill.workspace.shared_folders import sharing
from gitmill.workspace.without_work import program_of

SHOWN = 5  # items named in one line
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
    except GitmillError as error:  # this is the diagnosis
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
    except GitmillError as error:  # this is the diagnosis
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
    for what, instead in obsolete((committed or b"").decode("utf-8", "replace")):
        yield warning(f"{POLICY}: {what}", Hint(instead))


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


def workspace(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose where trees stand, and what they see of the checkout's dependencies."""
    tip = mill.target_tip(now)
    policy = policy_at(mill, tip)
    at = mount_point(mill, None, confined=sandbox.is_confined(mill, policy))
    if at.checkout is None:
        yield note("trees stand at their own path; there is no checkout here")
        return
    if not at.covers:
        yield note(f"trees stand at their own path and share nothing with {at.checkout}: {at.why}")
    else:
        seen = sharing(mill, policy, mill.tree_of(tip), at.checkout)
        names = ", ".join(folder.path for folder in seen.folders) or "nothing"
        yield ok(f"trees stand in the place of {at.checkout} and share {names} with it")
        for path, why in seen.refused:
            if policy.worktree.setup:
                yield note(f"{path} is not shared: {why}; the set-up makes its own")
            else:
                yield warning(f"{path} is not shared: {why}",
                              Hint("or name what makes it in `[worktree] setup`"))  # fmt: skip
    for path in lent_files.with_secrets(at.checkout):
        yield warning(f"{INCLUDE} lends {path}, which holds a secret, to agents and checks",
                      Hint(f"remove it from {INCLUDE} unless they need it"))  # fmt: skip


def room(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose what this repository takes on this machine, against the policy's limit."""
    limit = policy_at(mill, mill.target_tip(now)).worktree.max_disk
    kept = disk_use.measured(mill)
    text = disk_limit.bound(kept, limit)
    goes = disk_limit.excess(mill, kept, limit)
    if disk_limit.total(kept) - disk_limit.total(goes) > limit:
        yield warning(
            f"{text}; what is in use or still needed exceeds it",
            Hint(f"raise `[worktree] max_disk` in {POLICY}, or see", Gitmill("gc", "--dry-run")),
        )
    elif goes:
        yield note(f"{text}; the next attempt removes what is too much", Hint(Gitmill("gc")))
    else:
        yield ok(text)
    for line in disk_lines(kept, mill.now(), goes):
        yield ok(line)


def loops(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose whether mode, loops and policy compile."""
    plan = compile_at(mill, mill.target_tip(now), all_types())
    yield ok(f"compile to {plan.hash12}: {' → '.join(stage.name for stage in plan.stages)}")


def checks(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose whether the programs of checks, fixers, set-up and open criteria are installed."""
    tip = mill.target_tip(now)
    policy = policy_at(mill, tip)
    commands = policy.shell_lines | {
        f"criterion {number} of {item.id}": command
        for item in now.items.values()
        if not item.is_final
        for number, command in enumerate(item.commands, 1)
        if "/" not in program_of(command)  # a path in the tree is the work's to make
    }
    for name in shells.of_checks(policy.worktree.shell).hides(commands):
        error = shells.hidden_failure(name)
        yield warning(error.message, error.hints[0])
    programs = {name: program_of(command) for name, command in commands.items()}
    installed = {p: _is_installed(mill, policy, tip, p) for p in {*programs.values()} - {""}}
    missing = {n: program for n, program in programs.items() if not installed.get(program, True)}
    for name, program in missing.items():
        yield warning(f"{name} begins with {program}, which is not on PATH",
                      _correct(name, now))  # fmt: skip
    if not missing:
        names = ", ".join(policy.checks or ()) or "none in the policy"
        yield ok(f"{names}; their programs are installed")


def _correct(name: str, now: Snapshot) -> Hint:
    item_id = name.rpartition(" ")[2]
    if item_id in now.items:
        return Hint("install it, or correct the criterion:", Gitmill("task", "edit", item_id,
                    "--criterion", Blank('"$ COMMAND"')))  # fmt: skip
    return Hint(f"install it, or fix {name} in {POLICY}")


def red(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose the checks that items have found red on the target as it is."""
    tip, target = mill.target_tip(now), now.control.target
    found = red_checks(now.items.values(), tip)
    for check, item_id in found.items():
        ids = [item.id for item, name in waiting(mill, now) if name == check]
        more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
        yield warning(
            f"{sentence(check, target)} at {tip[:10]}; waiting: {' '.join(ids[:SHOWN])}{more}",
            *red_target(check, target, item_id).hints,
        )
    if not found:
        yield ok(f"no item has found a check red on {target}")


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
    stages = [stage for stage in compile_at(mill, tip, all_types()).stages if stage.agents]
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
