"""A machine that runs already is taken for a server of a stack."""

from dataclasses import replace

from stacksmith.address import Address, identity
from stacksmith.diagnostics import Faults, error
from stacksmith.engine.claim import hold
from stacksmith.engine.node import Nodes, observe_one
from stacksmith.engine.session import Options, alone, load_whole
from stacksmith.engine.store import opened
from stacksmith.engine.tenancy import check_machine_free, claim_on, in_use, records
from stacksmith.engine.upkeep import words_of
from stacksmith.model.bare_metal import MAINTENANCE, class_of
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.node_found import Power
from stacksmith.model.realised import to_data
from stacksmith.model.record import Record
from stacksmith.model.stack import Stack
from stacksmith.planner.machine import machine, machine_policy
from stacksmith.state.store import Store


def adopt(options: Options, of: Nodes, name: str, text: str) -> Address:
    """Takes the machine on a node for a server of the stack, as if it had been deployed: nothing of it is touched.

    Raises: Faults; Locked when a run of the stack is at work, or the node is being cleaned.
    """
    node, stack = of.one(name), load_whole(options)
    address = _address(stack, text)
    if class_of(stack, stack.resources[address]) != node.resource_class:
        raise in_use(name, f"it is {node.resource_class}, {address} asks for another", "see the flavor's extra_specs")
    pinned = spec.host if isinstance(spec := stack.resources[address].spec, ServerSpec) else None
    if pinned not in (None, name):
        raise in_use(name, f"{address} is pinned to {pinned}", f"write host: {name}, or take the pin out")
    found = observe_one(of, name)
    uuid = identity(stack.fleet.fleet, stack.name, address)
    wanted = machine(stack, stack.resources[address], uuid, node)
    applied = replace(
        wanted,
        power_state="stopped" if found.power_state is Power.OFF else "running",
        boot_mode=found.boot_mode or wanted.boot_mode,
        secure_boot=None,  # what is not read here is a difference from the stack, not drift
        firmware={},
        raid=(),
        bios={attribute: found.bios.get(attribute) for attribute in wanted.bios},
        indicator_led=found.indicator_led,
        asset_tag=found.asset_tag,
    )
    with (
        opened(stack, options.environment, read_only=False) as store,
        alone(store, stack.name, "node adopt"),
        alone(store, f"node {name}", "node adopt"),
    ):
        _check_free(store, name, address, stack.name)
        _check_unclaimed(store, name, uuid)
        check_machine_free(store, name, found.identity)
        resource = stack.resources[address]
        assert isinstance(resource.spec, ServerSpec)
        policy = machine_policy(resource.spec)
        record = Record(address, name, uuid, to_data(applied), policy, True, resource.depends_on, True, found.identity)
        store.put(stack.name, record)
        hold(stack.name, str(address), uuid, {name: {node.resource_class: 1}}, store)
    return address


def _check_free(store: Store, name: str, address: Address, stack: str) -> None:
    note = next((each for each in store.nodes() if each.name == name), None)
    if note is not None and note.state != MAINTENANCE:
        raise in_use(name, f"it is {words_of(note)}", f"stacksmith node release {name}")
    held = records(store).get(name)
    if held is not None:
        raise in_use(name, f"{held[1].address} of stack {held[0]} is on it", "an adopted node has one server")
    if mine := next((each for each in store.records(stack) if each.address == address), None):
        raise in_use(name, f"{address} is on {mine.host}", f"stacksmith state rm {address} forgets it")


def _check_unclaimed(store: Store, name: str, uuid: str) -> None:
    """Nor may a run that has claimed the node make its server there yet."""
    other = claim_on(store, name, but=uuid)
    if other is not None:
        hint = f"when no run of {other.owner} is at work: stacksmith state release {other.owner} {other.name}"
        raise in_use(name, f"it is claimed for {other.name} of stack {other.owner}", hint)


def _address(stack: Stack, text: str) -> Address:
    try:
        address = Address.parse(text)
    except ValueError:
        address = Address("server", text)
    if address in stack.resources and class_of(stack, stack.resources[address]) is not None:
        return address
    names = [str(a) for a, each in stack.resources.items() if class_of(stack, each) is not None]
    hint = f"it has {', '.join(names[:10])}" if names else "give a server a flavor of bare metal"
    raise Faults([error("unknown-reference", f"stack {stack.name} has no bare-metal server {text!r}", hint=hint)])
