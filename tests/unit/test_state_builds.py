"""How many servers could not be made on each host, on each database."""

from dataclasses import replace

from stacksmith.state.store import Store
from tests.postgres import Place
from tests.unit.state_parts import entry, leased


def ends(store: Store, text: str, outcome: str, host: str = "hv1", operation: str = "create") -> None:
    step = replace(entry(text, operation=operation), host=host)
    store.begin(step)
    store.end(step, outcome, cause="" if outcome == "done" else "no space left")


def test_failures_count_by_host_since_the_last_server_that_was_made_there(place: Place) -> None:
    store = leased(place.open())
    assert store.failed_builds() == {}
    ends(store, "server.a", "failed")
    ends(store, "server.b", "failed")
    ends(store, "server.c", "failed", "hv2")
    ends(store, "server.d", "done", "hv3")
    assert store.failed_builds() == {"hv1": 2, "hv2": 1}
    ends(store, "server.e", "done", "hv2")
    ends(store, "volume.a", "done", "hv1")
    ends(store, "volume.b", "failed", "hv3")
    ends(store, "server.a", "done", "hv1", "update")
    ends(store, "server.d", "failed", "hv3", "update")
    assert store.failed_builds() == {"hv1": 2}
    ends(store, "server.f", "done")
    ends(store, "server.g", "failed")
    assert store.failed_builds() == {"hv1": 1}
