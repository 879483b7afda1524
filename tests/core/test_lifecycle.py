"""The lifecycle: the table row by row, and the properties of the whole table."""

import re
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitmill.core.lifecycle import (
    FINAL,
    MET,
    OVERRULES,
    TRANSITIONS,
    UNDOABLE,
    UNDOES,
    WORKERS,
    WORKING,
    Event,
    Status,
    advance,
    allowed,
    check_claim,
    is_transition,
    mermaid,
    opposite,
)
from gitmill.errors import IllegalTransitionError, LeasedError

S, E = Status, Event
DOCS = Path(__file__).parents[2] / "docs/lifecycle.md"
statuses = st.sampled_from(Status)
events = st.sampled_from(Event)

# What is said of each event: where it may happen, where it leads; None is "the same status".
ROWS = {
    E.CREATED: ([None], S.DRAFT),
    E.READIED: ([S.DRAFT], S.READY),
    E.EDITED: (list(Status), None),
    E.SPLIT: (list(Status), None),
    E.CLAIMED: ([S.READY], S.RUNNING),
    E.ADVANCED: ([S.RUNNING, S.WAITING], S.READY),
    E.APPROVAL_COUNTED: ([S.RUNNING], S.READY),
    E.RETURNED: ([S.RUNNING, S.WAITING], S.READY),
    E.FAILED: ([S.RUNNING], S.READY),
    E.LAPSED: ([S.RUNNING], S.READY),
    E.RELEASED: ([S.RUNNING], S.READY),
    E.ASKED: ([S.RUNNING], S.WAITING),
    E.ANSWERED: ([S.WAITING], S.READY),
    E.HELD: (
        [S.DRAFT, S.READY, S.RUNNING, S.WAITING, S.BLOCKED, S.APPROVED, S.QUEUED],
        S.WAITING,
    ),
    E.APPROVED: ([S.RUNNING, S.WAITING], S.APPROVED),
    E.EXPANDED: ([S.READY], S.READY),
    E.FINISHED: ([S.RUNNING, S.APPROVED], S.DONE),
    E.QUEUED: ([S.APPROVED], S.QUEUED),
    E.DEQUEUED: ([S.QUEUED], S.APPROVED),
    E.LAND_STARTED: ([S.QUEUED], S.LANDING),
    E.LAND_ABORTED: ([S.LANDING], S.QUEUED),
    E.EJECTED: ([S.LANDING], S.READY),
    E.RE_REVIEW: ([S.LANDING], S.READY),
    E.LANDED: ([S.LANDING], S.LANDED),
    E.DISPUTED: ([S.LANDED], S.WAITING),
    E.UPHELD: ([S.WAITING], S.LANDED),
    E.REVERTED: ([S.LANDED, S.WAITING], S.WAITING),
    E.BLOCKED: ([S.DRAFT, S.READY, S.RUNNING, S.WAITING, S.APPROVED, S.QUEUED], S.BLOCKED),
    E.UNBLOCKED: ([S.BLOCKED], S.READY),
    E.CANCELLED: (
        [S.DRAFT, S.READY, S.RUNNING, S.WAITING, S.BLOCKED, S.APPROVED, S.QUEUED],
        S.CANCELLED,
    ),
    E.REOPENED: ([S.LANDED, S.DONE, S.CANCELLED, S.BLOCKED, S.WAITING], S.READY),
    E.UNDONE: ([], None),  # where it leads depends on what is undone, see below
}


@pytest.mark.parametrize("event", Event)
def test_each_event_follows_its_row_and_is_refused_elsewhere(event):
    places, to = ROWS[event]
    for status in [None, *Status]:
        if status in places:
            assert advance(status, event) is (to or status)
            continue
        with pytest.raises(IllegalTransitionError) as refused:
            advance(status, event)
        stands = f"is {status.value}" if status else "does not exist"
        assert str(refused.value) == f"the item {stands}, so it cannot be {event.value}"


def test_nothing_else_is_in_the_table():
    expected = {(at, event): to or at for event, (places, to) in ROWS.items() for at in places}
    assert expected == TRANSITIONS
    assert {status: set(allowed(status)) for status in Status} == {
        status: {event for (at, event) in expected if at is status} for status in Status
    }


def test_every_status_can_be_reached_and_has_a_way_to_a_final_one():
    steps = {(at, to) for (at, _), to in TRANSITIONS.items()}

    def reach(start, steps):
        seen, new = set(), set(start)
        while new:
            seen |= new
            new = {to for at, to in steps if at in seen} - seen
        return seen

    assert reach({None}, steps) == {None, *Status}
    assert reach(FINAL, {(to, at) for at, to in steps}) == {None, *Status}


def test_only_reopening_reverting_and_a_dispute_lead_out_of_a_final_status():
    out = {event for (at, event), to in TRANSITIONS.items() if at in FINAL and to is not at}
    assert out == {E.REOPENED, E.REVERTED, E.DISPUTED}
    assert {S.LANDED, S.DONE} == MET
    assert {S.LANDED, S.DONE, S.CANCELLED} == FINAL


def test_landed_is_entered_by_a_landing_or_by_upholding_one():
    into = {
        wanted: {(at, event) for (at, event), to in TRANSITIONS.items() if to is wanted != at}
        for wanted in (S.LANDED, S.LANDING, S.RUNNING)
    }
    assert into == {
        S.LANDED: {(S.LANDING, E.LANDED), (S.WAITING, E.UPHELD)},
        S.LANDING: {(S.QUEUED, E.LAND_STARTED)},
        S.RUNNING: {(S.READY, E.CLAIMED)},
    }


def test_nothing_leads_past_review_but_a_yes():
    """No event but `approved` comes to `approved`, and only from there work goes to the queue."""
    into = {(at, event) for (at, event), to in TRANSITIONS.items() if to is S.APPROVED != at}
    assert into == {(S.RUNNING, E.APPROVED), (S.WAITING, E.APPROVED), (S.QUEUED, E.DEQUEUED)}


# Claims


def refusal(status, event, holder, claim):
    try:
        check_claim(status, event, holder=holder, claim=claim)
    except LeasedError as error:
        return str(error)
    return ""


def test_a_workers_event_needs_its_claim():
    for status, event in product(WORKING, Event):
        if (status, event) not in TRANSITIONS:
            continue
        assert refusal(status, event, "c1", "c1") == ""
        late = "this claim is no longer current; the result was not recorded"
        assert refusal(status, event, "c2", "c1") == late
        assert refusal(status, event, None, "c1") == late
        person = refusal(status, event, "c1", None)
        assert person == ("" if event in OVERRULES else "another process is working on it")


def test_a_person_may_take_running_work_away_and_cannot_touch_a_landing():
    free = {
        status: {
            event
            for event in Event
            if (status, event) in TRANSITIONS and not refusal(status, event, "c1", None)
        }
        for status in WORKING
    }
    assert free == {
        S.RUNNING: {E.EDITED, E.LAPSED, E.HELD, E.BLOCKED, E.CANCELLED},
        S.LANDING: {E.EDITED},
    }


@given(statuses.filter(lambda status: status not in WORKING), events)
def test_a_claim_that_is_no_longer_current_is_refused(status, event):
    begins = event in (E.CLAIMED, E.LAND_STARTED)
    assert bool(refusal(status, event, None, "c1")) is not begins


@given(statuses.filter(lambda status: status not in WORKING), events)
def test_a_person_never_speaks_for_a_worker(status, event):
    expected = f"only the holder of the lease can record {event.value}" if event in WORKERS else ""
    assert refusal(status, event, None, None) == expected


def test_workers_events_happen_only_under_a_lease():
    assert {at for at, event in TRANSITIONS if event in WORKERS} == WORKING


@given(st.lists(st.tuples(events, st.booleans(), st.booleans()), max_size=60))
def test_no_sequence_of_events_lets_a_late_worker_in(steps):
    """Whatever happens, an event with a claim is taken only while that claim holds the lease."""
    status, holder, number = advance(None, E.CREATED), None, 0
    for event, is_worker, is_late in steps:
        claim = (f"c{number - 1}" if is_late else f"c{number}") if is_worker else None
        try:
            check_claim(status, event, holder=holder, claim=claim)
            after = advance(status, event)
        except (LeasedError, IllegalTransitionError):
            continue
        if event in (E.CLAIMED, E.LAND_STARTED):
            number += 1
            holder = f"c{number}"
        else:
            assert claim in (None, holder)
            if event not in (E.EDITED, E.SPLIT):
                holder = None
        status = after
        assert (holder is not None) == (status in WORKING)


# Undoing


def undone(at, event):
    """What undoing an event of the table comes to: the event said, and where it leads."""
    to = TRANSITIONS[at, event]
    back = S.READY if at is S.RUNNING and event is not E.EDITED else at
    said = opposite(event, back, to)
    return said, said and advance(to, said, back=back), back


def test_undoing_leads_to_where_the_event_began_or_to_the_claim_that_it_ended():
    for at, event in TRANSITIONS:
        said, to, back = undone(at, event)
        if event is E.CREATED:
            assert (said, to) == (E.CANCELLED, S.CANCELLED)
        elif said is not None:
            assert to is back
            assert is_transition(TRANSITIONS[at, event], said, to)


def test_decisions_of_people_can_be_undone_and_facts_about_the_target_cannot():
    can = {event for at, event in TRANSITIONS if undone(at, event)[0]}
    assert set(Event) - can == {
        E.SPLIT, E.LAPSED, E.RELEASED, E.HELD, E.EXPANDED, E.FINISHED, E.LAND_STARTED,
        E.LAND_ABORTED, E.EJECTED, E.RE_REVIEW, E.LANDED, E.DISPUTED, E.UPHELD, E.REVERTED,
        E.UNDONE,
    }  # fmt: skip
    assert can >= UNDOABLE


def test_undone_only_reverses_an_arrow_of_the_table():
    arrows = {
        (to, S.READY if at is S.RUNNING else at)
        for (at, event), to in TRANSITIONS.items()
        if event in UNDOABLE
    }
    for now, back in product(Status, Status):
        assert is_transition(now, E.UNDONE, back) is ((now, back) in arrows)
        if (now, back) in arrows:
            assert advance(now, E.UNDONE, back=back) is back
        else:
            with pytest.raises(IllegalTransitionError):
                advance(now, E.UNDONE, back=back)


def test_undone_never_creates_a_lease_or_a_landing():
    """Into `landed` and `done` it leads only from what was reopened; never out of them."""
    assert not {back for _, back in UNDOES} & WORKING
    assert not {now for now, _ in UNDOES} & (WORKING | MET)
    assert {now for now, back in UNDOES if back in MET} == {S.READY}
    assert {now for now, back in UNDOES if now in FINAL} == {S.CANCELLED}


@given(statuses, events, statuses)
def test_a_transition_is_legal_exactly_if_the_table_has_it(status, event, to):
    try:
        led = advance(status, event, back=to)
    except IllegalTransitionError:
        led = None
    assert is_transition(status, event, to) is (led is to)


# The diagram and the page about it


def test_the_diagram_shows_the_table():
    head, *lines = mermaid().splitlines()
    assert head == "stateDiagram-v2"
    arrows = [re.fullmatch(r"    (\S+) --> (\S+?)(?:: (.+))?", line).groups() for line in lines]
    assert len({(at, to) for at, to, _ in arrows}) == len(arrows)
    drawn = {(at, to, event) for at, to, names in arrows if names for event in names.split(", ")}
    assert drawn == {
        (at.value if at else "[*]", to.value, event.value)
        for (at, event), to in TRANSITIONS.items()
        if at is not to or event is E.EXPANDED
    }
    assert {at for at, to, names in arrows if not names} == {status.value for status in FINAL}


def test_the_page_about_it_has_this_diagram():
    """To mend it, put what `mermaid()` returns between the fences."""
    assert f"\n```mermaid\n{mermaid()}```\n" in DOCS.read_text()


def test_the_lifecycle_page_lists_the_events_that_can_be_undone():
    told = re.search(r"^`undone` reverses (.*?)\.", DOCS.read_text(), re.MULTILINE | re.DOTALL)[1]
    assert set(re.findall(r"`([a-z-]+)`", told)) == {event.value for event in UNDOABLE}


def test_the_page_about_it_has_this_table():
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split(" | ")]
        for line in DOCS.read_text().splitlines()
        if line.startswith("| `")
    ]
    told = {}
    for event, places, to, when in rows:
        assert when
        at = list(Status) if places == "every status" else places.split(", ")
        told |= {(s, event): s if to == "the same" else to for s in at}
    assert told == {
        (at.value if at else "\u2013", event.value): to.value
        for (at, event), to in TRANSITIONS.items()
    }
