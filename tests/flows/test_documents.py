"""Other kinds than tasks: a loop that writes a document, whose approval is one of its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from tests.support.cast import PASS, Cast
from tests.support.cli import gitmill, new_task
from tests.support.forge import Forgery
from tests.support.hands import STATE, by_hand
from tests.support.planted import made
from tests.support.repos import Repo, Sandbox
from tests.support.seeds import rest_slow

KEY = made()["github"][0]
DESIGN = "d-k3f9x"
PATH = f"designs/k3/{DESIGN}.md"
LOOP = {
    "loop.md": "---\nserves: design\n---\n",
    "10-author.md": "---\ntype: agent\nrole: author\npermission: workspace\nproduces: document\n---\n"
    "Design {{ item.title }}.\n{{ item.body }}\n{% for f in findings %}\n- {{ f.message }}\n"
    "{% endfor %}\n{{ verdict_schema }}\n",
    "20-review.md": "---\ntype: agent\nrole: critic\npermission: read-only\n---\n"
    "Review the design:\n{{ item.body }}\n",
    "30-accept.md": "---\ntype: person\nwhen: high-risk\n---\n",
}
TEXT = "# Two ways\n\nWe take the first.\n"
FILE = PASS | {"write": {"docs/design.md": TEXT}, "payload": {"file": "docs/design.md"}}


def files(loop: dict[str, str]) -> dict[str, str]:
    return {f".gitmill/loops/design/{name}": text for name, text in loop.items()}


@pytest.fixture
def cast(sandbox: Sandbox) -> Cast:
    roles = {"builder": "shell", "reviewer": "rules", "author": "writer", "critic": "judge"}
    return Cast(sandbox, {}, roles, files=files(LOOP))


def begin(repo: Repo, *, risk: str = "low", status: str = "ready") -> None:
    """Create a design as a person does without a command for it: by a commit."""
    head = f"title: Cache\nrisk: {risk}\nstatus: {status}"
    by_hand(repo, {PATH: f"---\n{head}\n---\n\nMake reads fast.\n"})
    assert gitmill(repo.path, "recover").code == 0


def item(repo: Repo) -> dict:
    return gitmill(repo.path, "task", "show", DESIGN, "--json").json["item"]


def stored(repo: Repo) -> str:
    return repo.git("show", f"{STATE}:{PATH}").partition("\n---\n")[2]


def hash_of(text: str) -> str:
    return hashlib.sha256(f"\n{text.strip()}\n".encode()).hexdigest()


def test_a_document_is_written_reviewed_approved_by_its_hash_and_done(cast: Cast):
    cast.plays("writer", FILE | {"write": {"docs/design.md": TEXT, "a.txt": "not its job\n"}})
    cast.plays("judge", PASS)
    begin(cast.repo, risk="high")
    before = cast.repo.git("rev-parse", "main")
    said = gitmill(cast.repo.path, "run")
    assert said.code == 3
    assert f"next: `gitmill task show {DESIGN}`, then `gitmill task approve {DESIGN}`" in said.err
    assert (item(cast.repo)["status"], item(cast.repo)["stage"]) == ("waiting", "accept")
    assert "Make reads fast." in cast.prompt("writer", 0)
    assert '"payload"' in cast.prompt("writer", 0)
    assert "We take the first." in cast.prompt("judge", 0)
    approved = gitmill(cast.repo.path, "task", "approve", DESIGN)
    assert (approved.code, f"next: `gitmill run {DESIGN}`" in approved.err) == (0, True)
    assert gitmill(cast.repo.path, "run").code == 0
    after = item(cast.repo)
    assert (after["status"], after["work"], stored(cast.repo)) == ("done", "", f"\n{TEXT}".rstrip())
    approvals = [(entry["stage"], entry["document"]) for entry in after["reviewed"]]
    assert approvals == [("review", hash_of(TEXT)), ("accept", hash_of(TEXT))]
    assert cast.repo.git("rev-parse", "main") == before
    assert cast.repo.git("for-each-ref", "refs/gitmill/work") == ""


def test_a_short_document_comes_in_the_verdict_and_ends_with_the_review(cast: Cast):
    cast.plays("writer", PASS | {"payload": {"text": TEXT}})
    finding = {"message": "and the second?"}
    cast.plays("judge", {"verdict": "return", "summary": "no", "findings": [finding]})
    begin(cast.repo)
    said = gitmill(cast.repo.path, "run")
    assert said.code == 1, said.err  # the same document was returned twice
    assert "and the second?" in cast.prompt("writer", 1)
    cast.plays("judge", PASS)
    assert gitmill(cast.repo.path, "task", "retry", DESIGN).code == 0
    assert gitmill(cast.repo.path, "run").code == 0
    assert item(cast.repo)["status"] == "done"


@pytest.mark.parametrize(
    "bad",
    rest_slow([
        (PASS, "it passed without a document"),
        (PASS | {"payload": {"file": "no.md"}}, "its document no.md is not a readable file"),
        (PASS | {"payload": {"file": "../../a"}}, "its document ../../a is not a readable file"),
        (FILE | {"write": {}, "link": {"x": "/etc"}, "payload": {"file": "x/passwd"}},
         "its document x/passwd is not a readable file"),
        (PASS | {"fifo": ["pipe"], "payload": {"file": "pipe"}}, "pipe is not a readable file"),
        (PASS | {"payload": {"text": "x" * 200_001}}, "its document is longer than 200,000"),
        (PASS | {"write": {"d.md": f"token: {KEY}"}, "payload": {"file": "d.md"}},
         "the document holds a secret"),
    ], 2),
)  # fmt: skip
def test_a_document_that_cannot_be_used_fails_the_attempt(cast: Cast, bad: tuple[dict, str]):
    step, why = bad
    cast.plays("writer", step)
    begin(cast.repo)
    assert gitmill(cast.repo.path, "run").code == 1
    after = item(cast.repo)
    assert (after["status"], stored(cast.repo)) == ("blocked", "\nMake reads fast.")
    assert why in after["reason"]
    assert KEY not in cast.repo.git("log", "-p", STATE)


def test_a_document_under_way_is_not_edited_and_an_edit_later_voids_its_approvals(cast: Cast):
    cast.plays("writer", FILE)
    cast.plays("judge", PASS)
    begin(cast.repo, risk="high")
    assert gitmill(cast.repo.path, "run").code == 3
    said = gitmill(cast.repo.path, "task", "edit", DESIGN, "-m", "# Mine")
    assert said.code != 0
    assert "is waiting, so its text cannot change" in said.err
    text = cast.repo.git("show", f"{STATE}:{PATH}")
    by_hand(cast.repo, {PATH: f"{text}\nAnd the second.\n"})
    assert "restored text" in gitmill(cast.repo.path, "recover").err
    assert stored(cast.repo) == f"\n{TEXT}".rstrip()
    assert gitmill(cast.repo.path, "task", "block", DESIGN, "-m", "mine").code == 0
    assert gitmill(cast.repo.path, "task", "edit", DESIGN, "-m", "# Mine").code == 0
    after = item(cast.repo)
    assert (after["reviewed"], after["stage"], after["builder"]) == ([], "", "")


def test_an_undone_attempt_restores_the_text(cast: Cast):
    cast.plays("writer", FILE)
    cast.plays("judge", {"verdict": "ask", "summary": "which?"})
    begin(cast.repo)
    assert gitmill(cast.repo.path, "run").code == 3
    assert gitmill(cast.repo.path, "undo", DESIGN).code == 0
    assert stored(cast.repo) == f"\n{TEXT}".rstrip()
    assert gitmill(cast.repo.path, "undo", DESIGN).code == 0
    assert stored(cast.repo) == "\nMake reads fast."
    assert item(cast.repo)["builder"] == ""


def test_a_document_never_lands(cast: Cast):
    cast.plays("writer", FILE)
    cast.plays("judge", PASS)
    begin(cast.repo, risk="high")
    gitmill(cast.repo.path, "run")
    assert gitmill(cast.repo.path, "task", "approve", DESIGN).code == 0
    said = gitmill(cast.repo.path, "queue", "add", DESIGN)
    assert said.code != 0
    assert f"{DESIGN} has no work, so it cannot be landed" in said.err
    task = new_task(cast.repo.path, "Beside it", "echo 1 > a.txt")
    assert gitmill(cast.repo.path, "run", "--through", "approved").code == 0
    assert gitmill(cast.repo.path, "queue", "land").code == 0
    shown = gitmill(cast.repo.path, "task", "show", task, "--json").json["item"]
    assert (shown["status"], item(cast.repo)["status"]) == ("landed", "approved")
    assert gitmill(cast.repo.path, "run", DESIGN).code == 0
    assert item(cast.repo)["status"] == "done"


@pytest.fixture
def done(cast: Cast) -> Forgery:
    """The history of a document that was written, reviewed, approved and finished."""
    cast.plays("writer", FILE)
    cast.plays("judge", PASS)
    begin(cast.repo, risk="high")
    gitmill(cast.repo.path, "run")
    gitmill(cast.repo.path, "task", "approve", DESIGN)
    assert gitmill(cast.repo.path, "run").code == 0
    return Forgery(cast.repo)


FORGED: dict[str, Callable[[Forgery], object]] = {
    "wrong-review": lambda f: f.find("approved").relog(document="0" * 64),
    "wrong-work": lambda f: f.find("advanced").relog(document="0" * 64),
    "wrong-fields": lambda f: rewritten(f, "finished"),
    "evidence": lambda f: f.find("advanced", nth=0).files.pop(f.find("advanced").path("runs/")),
}


def rewritten(forgery: Forgery, event: str) -> None:
    """Change the document of an event, and of all after it."""
    forgery.amend(forgery.find(event), PATH, lambda document: document.with_body("\nOurs.\n"))


@pytest.mark.forges
@pytest.mark.parametrize("rule", rest_slow(FORGED, 1))
def test_a_forged_document_is_found(done: Forgery, rule: str):
    FORGED[rule](done)
    done.write()
    said = gitmill(done.repo.path, "fsck", "--json")
    assert said.code == 1
    assert rule in {fault["rule"] for fault in said.json["faults"]}, said.out


@pytest.mark.forges
@pytest.mark.parametrize("event", rest_slow(["finished", "approved", "asked", "advanced"], 1))
def test_a_document_is_not_changed_by_an_event_that_does_not_write_it(done: Forgery, event: str):
    rewritten(done, event)
    done.write()
    assert gitmill(done.repo.path, "fsck").code == 1


def test_an_item_that_no_loop_serves_stops_nothing_and_says_so(sandbox: Sandbox):
    cast = Cast(sandbox, {}, {"builder": "shell", "reviewer": "rules"})
    begin(cast.repo)
    task = new_task(cast.repo.path, "Beside it", "echo 1 > a.txt")
    assert gitmill(cast.repo.path, "run").code == 0
    shown = gitmill(cast.repo.path, "task", "show", task, "--json").json["item"]
    assert (shown["status"], item(cast.repo)["status"]) == ("landed", "ready")
    said = gitmill(cast.repo.path, "run", DESIGN)
    assert said.code != 0
    assert f"no loop serves a design, so {DESIGN} cannot be run" in said.err


def test_the_plan_of_a_loop_is_the_one_of_the_kind_that_it_serves(cast: Cast):
    said = gitmill(cast.repo.path, "loop", "show", "design")
    assert said.code == 0, said.err
    assert "accept     person                   pass → done, return → author" in said.out
    assert "author" in gitmill(cast.repo.path, "compile", "--kind", "design").out
