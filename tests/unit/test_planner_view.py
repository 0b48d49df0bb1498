"""Which of several copies of an object is the object."""

from stacksmith.address import Address
from stacksmith.model.found import ABANDONED, Found, HostSnapshot, Snapshot
from stacksmith.model.realised import Server
from stacksmith.model.record import Record
from stacksmith.planner.view import View, view_of

WEB = Address("server", "web")


def server(host: str, is_abandoned: bool = False, partial: bool = False) -> Found:
    facts = {ABANDONED: True} if is_abandoned else {}
    return Found(WEB, host, "u", "shop-web", Server("web", 1, 128), host, partial=partial, facts=facts)


def seen(*found: Found) -> View:
    """With a record that says hv1."""
    hosts = tuple(HostSnapshot(each.host, found=(each,)) for each in found)
    return view_of(Snapshot(hosts), [Record(WEB, "hv1", "u", None)])


def test_server_whose_source_a_migration_paused_is_where_it_runs() -> None:
    view = seen(server("hv1", is_abandoned=True), server("hv2"))
    left = view.left(WEB)
    assert (view.found[WEB].host, left.host if left else None, view.twice) == ("hv2", "hv1", {})


def test_server_that_a_migration_paused_on_both_hosts_is_where_it_was_recorded() -> None:
    view = seen(server("hv1", is_abandoned=True), server("hv2", is_abandoned=True))
    assert (view.found[WEB].host, view.left(WEB)) == ("hv1", None)
    assert view.twice == {WEB: ["hv1", "hv2"]}


def test_server_paused_by_a_migration_is_the_server_while_its_copy_is_not_whole() -> None:
    view = seen(server("hv1", is_abandoned=True), server("hv2", partial=True))
    assert (view.found[WEB].host, view.left(WEB)) == ("hv1", None)
    assert [f.host for f in view.leftovers] == ["hv2"]
