"""The errors that users see: each has a stable slug, an exit code, evidence and hints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import ClassVar

from gitmill.hints import Hint


class Exit(IntEnum):
    """Exit codes, the same with and without `--json`."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PERSON = 3
    BUSY = 4
    NOTHING = 5
    BUG = 70
    INTERRUPTED = 130


class Blame(StrEnum):
    """Whose fault an error is; `core.blame_rules` has what that costs.

    What an agent can cause is never the environment's fault: it could end its attempts free of
    charge.
    """

    ITEM = "item"  # its text, its work, or what its plan asks for
    AGENT = "agent"  # what its code left behind
    ENVIRONMENT = "environment"  # the machine, the installation, a service
    RACE = "race"  # another process was faster
    USER = "user"  # a command, a setting or the policy; a person has to act


class GitmillError(Exception):
    """Base of all errors that are not bugs: one lower-case sentence, evidence lines, hints.

    Only subclasses are raised. Each has a slug and names whose fault it is; there is no default.
    """

    slug: ClassVar[str]
    code = Exit.FAILED
    blame: ClassVar[Blame]

    def __init_subclass__(cls, *, blame: Blame) -> None:
        super().__init_subclass__()
        cls.blame = blame

    def __init__(
        self, message: str, *, evidence: Sequence[str] = (), hints: Sequence[Hint] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.evidence = tuple(evidence)
        self.hints = tuple(hints)


class UsageError(GitmillError, blame=Blame.USER):
    """The command line is incomplete or contradicts itself."""

    slug = "usage"
    code = Exit.USAGE


class UnsupportedPlatformError(GitmillError, blame=Blame.ENVIRONMENT):
    """Windows, or a system without the process facts that leases need."""

    slug = "unsupported-platform"


class GitMissingError(GitmillError, blame=Blame.ENVIRONMENT):
    """No git executable, or one that is too old for this repository."""

    slug = "git-missing"


class GitFailedError(GitmillError, blame=Blame.ITEM):
    """A git command failed unexpectedly."""

    slug = "git-failed"


class GitKilledError(GitFailedError, blame=Blame.ENVIRONMENT):
    """A git process was killed, so it is not known what it would have answered."""

    slug = "git-killed"


class MissingObjectError(GitmillError, blame=Blame.ITEM):
    """An object is missing from the repository."""

    slug = "missing-object"


class ProcessFailedError(GitmillError, blame=Blame.ENVIRONMENT):
    """A required process failed."""

    slug = "process-failed"


class NotARepositoryError(GitmillError, blame=Blame.USER):
    """The current directory is not in a git repository."""

    slug = "not-a-repository"


class UnusableRepositoryError(GitmillError, blame=Blame.ENVIRONMENT):
    """A repository that gitmill cannot work in: bare, without a commit, without the target."""

    slug = "unusable-repository"


class RepositoryGoneError(GitmillError, blame=Blame.USER):
    """The repository was moved or deleted while gitmill worked in it; no work is lost.

    Files that an attempt has written stay in its worktree, outside of the repository. In its new
    place `gitmill run` saves them under a rescue ref and goes on.
    """

    slug = "repository-gone"


class DamagedRepositoryError(UnusableRepositoryError, blame=Blame.AGENT):
    """The git directory was damaged while code ran that could reach it, without a sandbox."""

    slug = "damaged-repository"


class PlantedFileError(GitmillError, blame=Blame.AGENT):
    """A link or another special file is in the place of one of gitmill's own files."""

    slug = "planted-file"


class NotInitializedError(GitmillError, blame=Blame.USER):
    """The repository has no state branch."""

    slug = "not-initialized"


class BadFormatError(GitmillError, blame=Blame.ENVIRONMENT):
    """The state branch has a format that this version does not support."""

    slug = "bad-format"


class NoSuchItemError(GitmillError, blame=Blame.USER):
    """No item has that id."""

    slug = "no-such-item"


class AmbiguousItemError(GitmillError, blame=Blame.USER):
    """More than one id starts with this text."""

    slug = "ambiguous-item"


class BadDocumentError(GitmillError, blame=Blame.ITEM):
    """A document of the state branch or of a loop breaks its format."""

    slug = "bad-document"


class BadConfigError(GitmillError, blame=Blame.USER):
    """The policy or a preference breaks its format."""

    slug = "bad-config"


class CannotCompileError(GitmillError, blame=Blame.USER):
    """Mode, loops and policy do not make a runnable plan."""

    slug = "cannot-compile"


class BadDependencyError(GitmillError, blame=Blame.USER):
    """A dependency is unknown or closes a cycle."""

    slug = "bad-dependency"


class IllegalTransitionError(GitmillError, blame=Blame.USER):
    """The lifecycle has no such event for the item's status."""

    slug = "illegal-transition"


class CannotUndoError(GitmillError, blame=Blame.USER):
    """The last event of an item cannot be undone, or another event has followed it."""

    slug = "cannot-undo"


class RevertConflictError(GitmillError, blame=Blame.USER):
    """Later landings build on the change to be reverted; nothing was changed."""

    slug = "revert-conflict"
    code = Exit.PERSON


class NotAStateCommitError(GitmillError, blame=Blame.USER):
    """`--at` or the range of `fsck` does not name a commit of the state branch."""

    slug = "not-a-state-commit"


class NoSuchLandingError(GitmillError, blame=Blame.USER):
    """`fsck --since` does not name a commit of the target that has the note of a landing."""

    slug = "no-such-landing"


class CannotSignError(GitmillError, blame=Blame.USER):
    """git could not sign an anchor: no key, no program that signs, or no answer from it."""

    slug = "cannot-sign"


class NotReadyError(GitmillError, blame=Blame.ITEM):
    """The item lacks what it needs to become ready."""

    slug = "not-ready"


class UntrustedError(GitmillError, blame=Blame.USER):
    """A command from a repository or another person is not trusted on this machine."""

    slug = "untrusted"
    code = Exit.PERSON


class LeasedError(GitmillError, blame=Blame.RACE):
    """Another worker has this item, or the claim is no longer current."""

    slug = "leased"
    code = Exit.BUSY


class StorageError(GitmillError, blame=Blame.ENVIRONMENT):
    """The machine cannot read or write a file: no space, no permission, or a broken disk."""

    slug = "storage"


class NoSlotError(GitmillError, blame=Blame.ENVIRONMENT):
    """No worktree or home is free for an attempt or a check."""

    slug = "no-slot"


class SlotBusyError(GitmillError, blame=Blame.RACE):
    """Another process uses or removes this worktree."""

    slug = "slot-busy"
    code = Exit.BUSY


class StateMovedError(GitmillError, blame=Blame.RACE):
    """The state branch moved more often than retries allow."""

    slug = "state-moved"
    code = Exit.BUSY


class LandBusyError(GitmillError, blame=Blame.RACE):
    """Another process is landing."""

    slug = "land-busy"
    code = Exit.BUSY


class RefMovedError(GitmillError, blame=Blame.RACE):
    """A compare-and-swap found another value than expected; callers read again and retry."""

    slug = "ref-moved"
    code = Exit.BUSY


class TargetMovedError(GitmillError, blame=Blame.RACE):
    """The target moved while a candidate was checked; the landing begins again on its new tip."""

    slug = "target-moved"
    code = Exit.BUSY


class DependenciesChangedError(GitmillError, blame=Blame.RACE):
    """Something was installed in the checkout while a tree that shares it was checked."""

    slug = "dependencies-changed"
    code = Exit.BUSY


class LeadsOutError(GitmillError, blame=Blame.ENVIRONMENT):
    """An installed package is the checkout or a copy: checks would test that, not the change."""

    slug = "leads-out"


class PausedError(GitmillError, blame=Blame.USER):
    """Work or the queue is paused."""

    slug = "paused"
    code = Exit.PERSON


class AgentMissingError(GitmillError, blame=Blame.ITEM):
    """A stage names an agent that does not exist."""

    slug = "agent-missing"


class NotNowError(GitmillError, blame=Blame.ENVIRONMENT):
    """No attempt can start now, though no item is at fault; `until` is when one can, if known."""

    slug = "not-now"
    code = Exit.BUSY

    def __init__(
        self,
        message: str,
        *,
        until: datetime | None = None,
        evidence: Sequence[str] = (),
        hints: Sequence[Hint] = (),
    ) -> None:
        super().__init__(message, evidence=evidence, hints=hints)
        self.until = until


class RedTargetError(NotNowError, blame=Blame.USER):
    """A check is red on the target without any work: items that need it wait until it moves.

    The work that was built is kept. Make a task that fixes the check, with `--fixes-check NAME`;
    commit the fix yourself; or, if the machine was the cause, name an item to ask again for it.
    """

    slug = "red-target"
    code = Exit.PERSON


class AgentCoolsError(NotNowError, blame=Blame.ENVIRONMENT):
    """Every agent for the stage is cooling down after an outage or a limit of its service."""

    slug = "agent-cools"


class AgentSignedOutError(NotNowError, blame=Blame.USER):
    """An agent is not signed in; gitmill retries it when its login changes, or after an hour."""

    slug = "agent-signed-out"
    code = Exit.PERSON


class AgentNotFoundError(NotNowError, blame=Blame.ENVIRONMENT):
    """No agent for the stage is installed on this machine; this costs no attempt."""

    slug = "agent-not-found"
    code = Exit.FAILED


class DayBudgetError(NotNowError, blame=Blame.USER):
    """The day's budget is used up; work continues at midnight UTC, or with a larger budget."""

    slug = "day-budget"


class ItemBudgetError(GitmillError, blame=Blame.ITEM):
    """The item's budget is used up; `gitmill task retry` gives it a new one."""

    slug = "item-budget"


class AttemptError(GitmillError, blame=Blame.ITEM):
    """An attempt could not be carried out."""

    slug = "attempt-failed"


class SetUpError(AttemptError, blame=Blame.ENVIRONMENT):
    """Setting up the worktree failed, on the target as well; this costs no attempt.

    `status` and `ended` are those of its `command`.
    """

    slug = "set-up-failed"

    def __init__(
        self,
        message: str,
        *,
        command: str = "",
        status: int = 0,
        ended: str = "",
        evidence: Sequence[str] = (),
        hints: Sequence[Hint] = (),
    ) -> None:
        super().__init__(message, evidence=evidence, hints=hints)
        self.command = command
        self.status = status
        self.ended = ended


class BrokenSetUpError(AttemptError, blame=Blame.ITEM):
    """The set-up fails with the work of the item, and not without it."""

    slug = "set-up-broken"


class CannotStartError(AttemptError, blame=Blame.ENVIRONMENT):
    """A check cannot start on this machine, with the work or without it; this costs no attempt.

    Its command ends with status 126 or 127, or gitmill cannot start it at all: something that it
    needs is not installed. The work is kept, and the next run continues at the checks.
    """

    slug = "cannot-start"


class HiddenFailureError(GitmillError, blame=Blame.USER):
    """A check, criterion or set-up line has a pipe, and the shell sees no failure before its end.

    It would pass although `command` in `command | other` fails. Install bash, or write the output
    to a file first; `[worktree] shell` names another shell.
    """

    slug = "hidden-failure"


class SandboxMissingError(SetUpError, blame=Blame.ENVIRONMENT):
    """The sandbox is required but not available on this machine; nothing ran without it."""

    slug = "sandbox-missing"


class SpoiledWorktreeError(AttemptError, blame=Blame.AGENT):
    """The code of an attempt left a file or folder of its worktree that gitmill cannot use."""

    slug = "worktree-spoiled"


class OverQuotaError(AttemptError, blame=Blame.AGENT):
    """The disk is full, and the attempt has filled it: its files take more than an attempt may."""

    slug = "over-quota"


class HoldsSecretError(GitmillError, blame=Blame.USER):
    """The text to record holds a secret; list a false alarm in `[sanity] allow_secrets`.

    Nothing was written. Write `$NAME` instead of the value; a command gets the variable NAME if the
    policy has `[environment] pass = ["NAME"]`. A secret of the policy, of a stage or of git's
    identity has to be changed there. A secret that a hand edit has brought into gitmill/state is
    in the history: first change it at its service, then rewrite the branch as docs/sanity.md says.
    """

    slug = "holds-secret"
    code = Exit.PERSON


class CheckoutBlockedError(GitmillError, blame=Blame.USER):
    """The checkout of the target cannot be updated; nothing in it was changed."""

    slug = "checkout-blocked"
    code = Exit.PERSON


class CheckoutTornError(GitmillError, blame=Blame.ENVIRONMENT):
    """A fast-forward of the target's checkout ended half-way, and could not all be undone."""

    slug = "checkout-torn"


class LandingBrokenError(GitmillError, blame=Blame.ENVIRONMENT):
    """The commit read back after a landing is not the one that was reviewed and tested."""

    slug = "landing-broken"


class AccountError(GitmillError, blame=Blame.ENVIRONMENT):
    """A report does not agree with refs and notes."""

    slug = "account-broken"


class NothingToDoError(GitmillError, blame=Blame.USER):
    """No item is eligible."""

    slug = "nothing-to-do"
    code = Exit.NOTHING


class BugError(GitmillError, blame=Blame.ENVIRONMENT):
    """gitmill hit a bug."""

    slug = "bug"
    code = Exit.BUG
