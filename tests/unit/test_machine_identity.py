"""Which machine a node is: by what its BMC tells, and what the state store knows."""

from pathlib import Path

import pytest

from stacksmith.address import Address
from stacksmith.diagnostics import Faults
from stacksmith.engine.opening import with_tenants
from stacksmith.engine.tenancy import Tenant
from stacksmith.model.found import Found, HostSnapshot, Snapshot
from stacksmith.model.load import LoadOptions, load_stack
from stacksmith.model.machine_identity import MACHINE, UNKNOWN, Identity, fault, identity_of, is_other, is_same
from stacksmith.model.record import Record
from stacksmith.model.stack import Stack
from stacksmith.planner.machine import TENANT
from tests.postgres import Place

A, B = ("0b2fa9a0-1c5e-4d38-9d0e-6f2f7c1f0a01", "S1"), ("7d5e6c11-6a9e-4f0b-8a44-3b1d9d2a0b02", "S2")
DB = Address("server", "db")
FLEET = "fleet: f\nnodes:\n" + "".join(
    f"  bm{n}: {{redfish: 'https://bmc{n}', username: u, password: {{env: P}}}}\n" for n in (1, 2, 3)
)
STACK = """\
stack: shop
fleet: fleet.yaml
flavors: {metal: {vcpus: 1, ram: 512, extra_specs: {"resources:CUSTOM_BAREMETAL": "1"}}}
servers: {db: {flavor: metal}}
"""


@pytest.mark.parametrize(
    ("uuid", "serial", "identity"),
    [
        (A[0].upper(), " S1 ", A),
        ("00000000-0000-0000-0000-000000000000", "S1", ("", "S1")),
        ("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "To Be Filled By O.E.M.", UNKNOWN),
        ("03000200-0400-0500-0006-000700080009", "Default string", UNKNOWN),
        ("", "", UNKNOWN),
    ],
)
def test_what_many_machines_have_alike_is_no_identity(uuid: str, serial: str, identity: Identity) -> None:
    assert identity_of(uuid, serial) == identity


@pytest.mark.parametrize(
    ("known", "seen", "other", "same"),
    [
        (A, A, False, True),
        (A, B, True, False),
        (A, (B[0], A[1]), False, False),  # a new mainboard with the old serial number
        (A, (A[0], B[1]), False, False),
        ((A[0], ""), A, False, False),
        ((A[0], ""), (A[0], ""), False, False),
        ((A[0], ""), ("", "S1"), False, False),
        (UNKNOWN, A, False, False),
        (A, UNKNOWN, False, False),
        (UNKNOWN, UNKNOWN, False, False),
    ],
)
def test_machine_is_another_when_nothing_is_alike_and_the_same_when_nothing_differs(
    known: Identity, seen: Identity, other: bool, same: bool
) -> None:
    assert (is_other(known, seen), is_same(known, seen)) == (other, same)
    assert (fault("bm1", "server.db", known, seen) is not None) == other


def test_machine_is_recorded(place: Place) -> None:
    store = place.open()
    for record in (Record(DB, "bm1", "u", {}, machine=A), Record(DB, "bm1", "u", {})):
        store.put("shop", record)
        assert store.records("shop") == (record,)


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    (tmp_path / "stack.yaml").write_text(STACK)
    stack = load_stack(tmp_path / "stack.yaml", LoadOptions(environment={})).stack
    assert stack is not None
    return stack


def node(name: str, machine: Identity, *found: Found) -> HostSnapshot:
    return HostSnapshot(name, found=found, facts={MACHINE: list(machine)})


def reasons(stack: Stack, tenants: tuple[Tenant, ...], *nodes: HostSnapshot) -> dict[str, str]:
    told = with_tenants(Snapshot((), nodes), stack, tenants).nodes
    return {each.host: str(fact[0]) for each in told if isinstance(fact := each.facts.get(TENANT), list)}


def test_node_with_the_machine_of_another_is_given_to_nobody(stack: Stack) -> None:
    theirs = (Tenant("bm2", "other", DB, B),)
    assert reasons(stack, theirs, node("bm1", A), node("bm2", B)) == {"bm2": "server.db of stack other is on it"}
    led = "its machine has server.db of stack other, as node bm2"
    assert reasons(stack, theirs, node("bm1", B), node("bm2", A))["bm1"] == led
    ours = (Tenant("bm2", "shop", DB, B),)
    assert reasons(stack, ours, node("bm1", B)) == {"bm1": "its machine has server.db of stack shop, as node bm2"}
    assert reasons(stack, ours, node("bm2", B)) == {}


def test_of_two_nodes_with_one_machine_one_is_given_to_servers(stack: Stack) -> None:
    twin = "its machine (serial S1) is that of node bm1 too"
    assert reasons(stack, (), node("bm1", A), node("bm2", A), node("bm3", B)) == {"bm2": twin}
    assert reasons(stack, (), node("bm1", ("", "S1")), node("bm2", ("", "S1"))) == {}, "boards may have that alike"
    ours = Found(DB, "bm2", "u", "bm2", None, "")
    assert reasons(stack, (), node("bm1", A), node("bm2", A, ours)) == {}


def test_node_that_was_renamed_is_refused_with_what_to_do(stack: Stack) -> None:
    with pytest.raises(Faults) as caught:
        reasons(stack, (Tenant("rack1", "shop", DB, A),), node("bm1", A), node("bm2", B))
    (said,) = caught.value.diagnostics
    assert said.message == "cannot use node bm1: its machine has server.db, which was made there under the name rack1"
    assert "stacksmith state rm server.db; stacksmith node adopt bm1 server.db" in str(said.hint)
    other = (Tenant("rack1", "other", DB, A),)
    assert reasons(stack, other, node("bm1", A)) == {"bm1": "its machine has server.db of stack other, as node rack1"}
