"""What outputs may ask of servers, from the stack, the plan and the live objects."""

from stacksmith.address import Address, identity
from stacksmith.model.found import Found, Snapshot
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.realised import Machine, Server
from stacksmith.model.stack import Stack
from stacksmith.model.types import JSON
from stacksmith.planner.build import server_nics
from stacksmith.planner.plan import Plan

LIVE_VALUES = ("addresses", "power_state")  # what of a server's values is known only once it runs


def server_values(stack: Stack, made: Plan, snapshot: Snapshot) -> dict[str, JSON]:
    """What outputs may ask of servers: ``server.web`` is a list with count, a mapping with for_each."""
    hosts = {p.address: p.host for p in made.placements}
    live = {f.address: f for h in snapshot.places for f in h.found if f.address.kind == "server"}
    blocks: dict[str, JSON] = {}
    for address, resource in stack.resources.items():
        if not isinstance(resource.spec, ServerSpec):
            continue
        values = _values(stack, address, hosts.get(address), live.get(address))
        if address.key is None:
            blocks[address.name] = values
        elif isinstance(address.key, int):
            blocks.setdefault(address.name, []).append(values)
        else:
            blocks.setdefault(address.name, {})[address.key] = values
    return blocks


def _values(stack: Stack, address: Address, host: str | None, live: Found | None) -> JSON:
    resource = stack.resources[address]
    spec = resource.spec
    assert isinstance(spec, ServerSpec)
    made = identity(stack.fleet.fleet, stack.name, address)
    nics = server_nics(stack, resource, made)
    fixed = [n.fixed_ip for n in spec.networks]
    facts = live.facts if live is not None else {}
    where = live.host if live is not None else host
    return {
        "address": str(address), "name": spec.name or address.label, "uuid": made, "host": where,
        "availability_zone": _zone(stack, where) if where else None,
        "fixed_ip": next((ip for ip in fixed if ip), None), "fixed_ips": [ip for ip in fixed if ip],
        "addresses": facts.get("addresses", {}), "mac": nics[0].mac if nics else None, "macs": [n.mac for n in nics],
        "flavor": spec.flavor, "image": spec.image, "metadata": dict(spec.metadata), "tags": list(spec.tags),
        "power_state": live.spec.power_state if live and isinstance(live.spec, Server | Machine) else None,
    }  # fmt: skip


def _zone(stack: Stack, name: str) -> str | None:
    place = stack.fleet.hosts.get(name) or stack.fleet.nodes.get(name)
    return place.availability_zone if place else None
