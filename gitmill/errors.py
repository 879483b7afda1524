"""Every error that a user can meet: a stable slug, an exit code, evidence, what to type next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum


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


class GitmillError(Exception):
    """Base of all errors that are not bugs: one lower-case sentence, evidence lines, hints."""

    slug = "failed"
    code = Exit.FAILED

    def __init__(
        self, message: str, *, evidence: Sequence[str] = (), hints: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.evidence = tuple(evidence)
        self.hints = tuple(hints)


class UsageError(GitmillError):
    """The command line does not say one clear thing."""

    slug = "usage"
    code = Exit.USAGE


class UnsupportedPlatformError(GitmillError):
    """Windows, or a system without the process facts that leases need."""

    slug = "unsupported-platform"


class GitMissingError(GitmillError):
    """No git executable, or one that is too old for this repository."""

    slug = "git-missing"


class GitFailedError(GitmillError):
    """A git command that should have worked did not."""

    slug = "git-failed"


class MissingObjectError(GitmillError):
    """An object that something names is not in the repository."""

    slug = "missing-object"


class ProcessFailedError(GitmillError):
    """A process that had to succeed did not."""

    slug = "process-failed"


class NotARepositoryError(GitmillError):
    """There is no git repository here."""

    slug = "not-a-repository"


class UnusableRepositoryError(GitmillError):
    """A repository that gitmill cannot work in: bare, without a commit, without the target."""

    slug = "unusable-repository"


class NotInitializedError(GitmillError):
    """There is no state branch."""

    slug = "not-initialized"


class BadFormatError(GitmillError):
    """The state branch has a format that this version does not know."""

    slug = "bad-format"


class NoSuchItemError(GitmillError):
    """No item has that id."""

    slug = "no-such-item"


class AmbiguousItemError(GitmillError):
    """More than one item has an id that begins like this."""

    slug = "ambiguous-item"


class BadDocumentError(GitmillError):
    """A document of the state branch or of a loop breaks its format."""

    slug = "bad-document"


class BadConfigError(GitmillError):
    """The policy or a preference breaks its format."""

    slug = "bad-config"


class CannotCompileError(GitmillError):
    """Mode, loops and policy do not make a runnable plan."""

    slug = "cannot-compile"


class BadDependencyError(GitmillError):
    """A dependency is unknown or closes a cycle."""

    slug = "bad-dependency"


class IllegalTransitionError(GitmillError):
    """The lifecycle has no such step from where the item stands."""

    slug = "illegal-transition"


class CannotUndoError(GitmillError):
    """The last event of an item is not one that can be taken back, or is not its last any more."""

    slug = "cannot-undo"


class RevertConflictError(GitmillError):
    """What landed later stands on what would be taken back; nothing was changed."""

    slug = "revert-conflict"
    code = Exit.PERSON


class NotAStateCommitError(GitmillError):
    """What `--at` names is not a commit of the state branch."""

    slug = "not-a-state-commit"


class NotReadyError(GitmillError):
    """The item lacks something that it needs to become ready."""

    slug = "not-ready"


class UntrustedError(GitmillError):
    """A command from a repository or another person would run that nobody has trusted here."""

    slug = "untrusted"
    code = Exit.PERSON


class LeasedError(GitmillError):
    """Somebody else works on this item, or the claim is no longer the current one."""

    slug = "leased"
    code = Exit.BUSY


class StorageError(GitmillError):
    """The machine refuses to write or read a file: no space, no right to, or a broken disk."""

    slug = "storage"


class StateMovedError(GitmillError):
    """The state branch moved more often than retries allow."""

    slug = "state-moved"
    code = Exit.BUSY


class LandBusyError(GitmillError):
    """Another process is landing."""

    slug = "land-busy"
    code = Exit.BUSY


class RefMovedError(GitmillError):
    """A compare-and-swap saw another value than the one expected; callers read again and retry."""

    slug = "ref-moved"
    code = Exit.BUSY


class PausedError(GitmillError):
    """Work or the queue is paused."""

    slug = "paused"
    code = Exit.PERSON


class AgentMissingError(GitmillError):
    """A stage names an agent that is not there."""

    slug = "agent-missing"


class NotNowError(GitmillError):
    """Nothing can begin just now, and no item is to blame; `until` is when it goes on, if known."""

    slug = "rests"
    code = Exit.BUSY

    def __init__(
        self,
        message: str,
        *,
        until: datetime | None = None,
        evidence: Sequence[str] = (),
        hints: Sequence[str] = (),
    ) -> None:
        super().__init__(message, evidence=evidence, hints=hints)
        self.until = until


class AgentCoolsError(NotNowError):
    """All agents that may do a stage cool down after an outage or a limit of their service."""

    slug = "agent-cools"


class AgentSignedOutError(NotNowError):
    """An agent is not signed in; it is asked again once its login has changed, or after an hour."""

    slug = "agent-signed-out"
    code = Exit.PERSON


class AgentNotFoundError(NotNowError):
    """None of the agents that may do a stage is installed here; this costs no attempt."""

    slug = "agent-not-found"
    code = Exit.FAILED


class DayBudgetError(NotNowError):
    """The budget of the day is used up; it goes on at midnight UTC, or with a larger budget."""

    slug = "day-budget"


class ItemBudgetError(GitmillError):
    """The budget of an item is used up; `gitmill task retry` gives it a new one."""

    slug = "item-budget"


class AttemptError(GitmillError):
    """An attempt could not be carried out."""

    slug = "attempt-failed"


class SetUpError(AttemptError):
    """The set-up of a worktree failed; no work is to blame, so it costs no attempt."""

    slug = "set-up-failed"


class SandboxMissingError(SetUpError):
    """The sandbox is required and cannot be had on this machine; nothing was run without it."""

    slug = "sandbox-missing"


class HoldsSecretError(GitmillError):
    """What was to be recorded holds a secret; what is none goes into `[sanity] allow_secrets`."""

    slug = "holds-secret"
    code = Exit.PERSON


class CheckoutBlockedError(GitmillError):
    """The checkout of the target cannot follow; nothing in it was changed."""

    slug = "checkout-blocked"
    code = Exit.PERSON


class LandingBrokenError(GitmillError):
    """What was read back after a landing is not what was reviewed and tested."""

    slug = "landing-broken"


class AccountError(GitmillError):
    """An account of what happened does not hold against refs and notes."""

    slug = "account-broken"


class NothingToDoError(GitmillError):
    """Nothing was eligible."""

    slug = "nothing-to-do"
    code = Exit.NOTHING


class BugError(GitmillError):
    """gitmill did something that it should not have."""

    slug = "bug"
    code = Exit.BUG
