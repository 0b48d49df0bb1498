"""What the store remembers of bare-metal nodes, on each database."""

from dataclasses import replace

from stacksmith.state.store import NodeNote
from tests.postgres import Place

NOTE = NodeNote("bm1", "deploying", "media a1", stack="shop", uuid="1b2c")


def test_note_written_reads_back_with_its_time(place: Place) -> None:
    store = place.open()
    store.note_node(NOTE)
    (found,) = store.nodes()
    assert replace(found, since=0.0) == NOTE
    assert found.since > 0


def test_note_of_the_same_state_keeps_its_time_and_another_state_does_not(place: Place) -> None:
    store = place.open()
    store.note_node(NOTE)
    (first,) = store.nodes()
    store.note_node(replace(NOTE, stage="booted a1"))
    (second,) = store.nodes()
    store.note_node(replace(NOTE, state="failed", reason="no disk"))
    (third,) = store.nodes()
    assert (second.since, second.stage) == (first.since, "booted a1")
    assert third.since >= first.since and third.reason == "no disk"


def test_notes_are_in_order_of_name_and_cleared_ones_are_gone(place: Place) -> None:
    store = place.open()
    for name in ("bm2", "bm10", "bm1"):
        store.note_node(replace(NOTE, name=name))
    store.clear_node("bm2")
    store.clear_node("bm2")
    assert [note.name for note in store.nodes()] == ["bm1", "bm10"]


def test_note_is_not_written_over_one_of_a_state_that_stays(place: Place) -> None:
    store = place.open()
    stays = ("maintenance", "cleaning")
    store.note_node(NOTE, unless=stays)
    store.note_node(replace(NOTE, stage="booted a1"), unless=stays)
    assert [note.stage for note in store.nodes()] == ["booted a1"]
    for state in stays:
        store.note_node(NodeNote("bm1", state))
        store.note_node(NOTE, unless=stays)
        assert [note.state for note in store.nodes()] == [state]
