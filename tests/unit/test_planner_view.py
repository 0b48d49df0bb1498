"""Which of several copies of an object is the object."""

import pytest

from stacksmith.address import Address
from stacksmith.diagnostics import Faults
from stacksmith.model.found import ABANDONED, Found, HostSnapshot, Hypervisor, Snapshot
from stacksmith.model.realised import Server
from stacksmith.model.record import Record
from stacksmith.planner.view import View, check_machines, view_of
from stacksmith.source import Span

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


def machines(**hosts: tuple[str, str]) -> Snapshot:
    """Hosts with the UUID and the host name of their machines, beside one that cannot be read."""
    read = [HostSnapshot(n, hypervisor=Hypervisor("QEMU", 1, h, machine=u)) for n, (u, h) in hosts.items()]
    return Snapshot((*read, HostSnapshot("down", error="no answer")))


def test_two_names_of_one_machine_are_refused_at_their_uris() -> None:
    places = {name: Span("fleet.yaml", line, 14) for name, line in (("hv1", 3), ("hv2", 5), ("hv3", 7))}
    with pytest.raises(Faults) as caught:
        check_machines(machines(hv1=("u1", "a"), hv2=("u2", "b"), hv3=("u1", "a")), places)
    (fault,) = caught.value.diagnostics
    assert (fault.code, fault.span, fault.notes) == ("same-machine", places["hv3"], (("host hv1", places["hv1"]),))
    assert fault.message == "cannot use host hv3: its URI leads to the same machine as that of hv1: a, UUID u1"


def test_machines_with_one_uuid_by_their_firmware_or_with_none_are_several() -> None:
    check_machines(machines(hv1=("03000200-0400", "a"), hv2=("03000200-0400", "b")), {})
    check_machines(machines(hv1=("", "localhost"), hv2=("", "localhost")), {})
