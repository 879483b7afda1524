"""The errors that users see: each has a stable slug, an exit code, evidence and hints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum

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


class GitmillError(Exception):
    """Base of all errors that are not bugs: one lower-case sentence, evidence lines, hints."""

    slug = "failed"
    code = Exit.FAILED

    def __init__(
        self, message: str, *, evidence: Sequence[str] = (), hints: Sequence[Hint] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.evidence = tuple(evidence)
        self.hints = tuple(hints)


class UsageError(GitmillError):
    """The command line is incomplete or contradicts itself."""

    slug = "usage"
    code = Exit.USAGE


class UnsupportedPlatformError(GitmillError):
    """Windows, or a system without the process facts that leases need."""

    slug = "unsupported-platform"


class GitMissingError(GitmillError):
    """No git executable, or one that is too old for this repository."""

    slug = "git-missing"


class GitFailedError(GitmillError):
    """A git command failed unexpectedly."""

    slug = "git-failed"


class MissingObjectError(GitmillError):
    """An object is missing from the repository."""

    slug = "missing-object"


class ProcessFailedError(GitmillError):
    """A required process failed."""

    slug = "process-failed"


class NotARepositoryError(GitmillError):
    """The current directory is not in a git repository."""

    slug = "not-a-repository"


class UnusableRepositoryError(GitmillError):
    """A repository that gitmill cannot work in: bare, without a commit, without the target."""

    slug = "unusable-repository"


class NotInitializedError(GitmillError):
    """The repository has no state branch."""

    slug = "not-initialized"


class BadFormatError(GitmillError):
    """The state branch has a format that this version does not support."""

    slug = "bad-format"


class NoSuchItemError(GitmillError):
    """No item has that id."""

    slug = "no-such-item"


class AmbiguousItemError(GitmillError):
    """More than one id starts with this text."""

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
    """The lifecycle has no such event for the item's status."""

    slug = "illegal-transition"


class CannotUndoError(GitmillError):
    """The last event of an item cannot be undone, or another event has followed it."""

    slug = "cannot-undo"


class RevertConflictError(GitmillError):
    """Later landings build on the change to be reverted; nothing was changed."""

    slug = "revert-conflict"
    code = Exit.PERSON


class NotAStateCommitError(GitmillError):
    """`--at` does not name a commit of the state branch."""

    slug = "not-a-state-commit"


class NotReadyError(GitmillError):
    """The item lacks what it needs to become ready."""

    slug = "not-ready"


class UntrustedError(GitmillError):
    """A command from a repository or another person is not trusted on this machine."""

    slug = "untrusted"
    code = Exit.PERSON


class LeasedError(GitmillError):
    """Another worker has this item, or the claim is no longer current."""

    slug = "leased"
    code = Exit.BUSY


class StorageError(GitmillError):
    """The machine cannot read or write a file: no space, no permission, or a broken disk."""

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
    """A compare-and-swap found another value than expected; callers read again and retry."""

    slug = "ref-moved"
    code = Exit.BUSY


class PausedError(GitmillError):
    """Work or the queue is paused."""

    slug = "paused"
    code = Exit.PERSON


class AgentMissingError(GitmillError):
    """A stage names an agent that does not exist."""

    slug = "agent-missing"


class NotNowError(GitmillError):
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


class AgentCoolsError(NotNowError):
    """Every agent for the stage is cooling down after an outage or a limit of its service."""

    slug = "agent-cools"


class AgentSignedOutError(NotNowError):
    """An agent is not signed in; gitmill retries it when its login changes, or after an hour."""

    slug = "agent-signed-out"
    code = Exit.PERSON


class AgentNotFoundError(NotNowError):
    """No agent for the stage is installed on this machine; this costs no attempt."""

    slug = "agent-not-found"
    code = Exit.FAILED


class DayBudgetError(NotNowError):
    """The day's budget is used up; work continues at midnight UTC, or with a larger budget."""

    slug = "day-budget"


class ItemBudgetError(GitmillError):
    """The item's budget is used up; `gitmill task retry` gives it a new one."""

    slug = "item-budget"


class AttemptError(GitmillError):
    """An attempt could not be carried out."""

    slug = "attempt-failed"


class SetUpError(AttemptError):
    """Setting up the worktree failed; the work is not at fault, so this costs no attempt."""

    slug = "set-up-failed"


class SandboxMissingError(SetUpError):
    """The sandbox is required but not available on this machine; nothing ran without it."""

    slug = "sandbox-missing"


class HoldsSecretError(GitmillError):
    """The text to record holds a secret; list a false alarm in `[sanity] allow_secrets`.

    Nothing was written. Write `$NAME` instead of the value; a command gets the variable NAME if the
    policy has `[environment] pass = ["NAME"]`. A secret of the policy, of a stage or of git's
    identity has to be changed there. A secret that a hand edit has brought into gitmill/state is
    in the history: first change it at its service, then rewrite the branch as docs/sanity.md says.
    """

    slug = "holds-secret"
    code = Exit.PERSON


class CheckoutBlockedError(GitmillError):
    """The checkout of the target cannot be updated; nothing in it was changed."""

    slug = "checkout-blocked"
    code = Exit.PERSON


class LandingBrokenError(GitmillError):
    """The commit read back after a landing is not the one that was reviewed and tested."""

    slug = "landing-broken"


class AccountError(GitmillError):
    """A report does not agree with refs and notes."""

    slug = "account-broken"


class NothingToDoError(GitmillError):
    """No item is eligible."""

    slug = "nothing-to-do"
    code = Exit.NOTHING


class BugError(GitmillError):
    """gitmill hit a bug."""

    slug = "bug"
    code = Exit.BUG
