"""What a batch and its hosts cannot mean: it is refused before anything is placed, for it would give room to others."""

from collections import Counter
from collections.abc import Mapping, Sequence

from stacksmith.address import Address
from stacksmith.placement.host import STATES, HostState
from stacksmith.placement.request import Group, Policy, Request
from stacksmith.placement.tree.provider import Provider, is_count, tree_faults


def refuse(
    requests: Sequence[Request], hosts: Sequence[HostState], groups: Mapping[str, Group], kept: Mapping[Address, str]
) -> None:
    """Raises: ValueError with the first value that cannot be meant."""
    _refuse_twice("host", [host.name for host in hosts])
    for host in hosts:
        _refuse_host(host)
    _refuse_twice("request", [request.address for request in requests])
    for request in requests:
        for amounts in (request.amounts, *request.held.values()):
            _refuse_counts(f" {request.address}", amounts)
    for name, group in groups.items():
        _refuse_group(name, group)
    there = {host.name for host in hosts}
    for address, on in kept.items():
        if on not in there:
            raise ValueError(f"cannot place: {address} is kept on {on}, which is none of the hosts")


def _refuse_twice(what: str, names: Sequence[str] | Sequence[Address]) -> None:
    """Raises: ValueError when one of the names is there twice."""
    if len(set(names)) < len(names):
        name = next(name for name, count in Counter(names).items() if count > 1)
        raise ValueError(f"cannot place: {what} {name} is there twice")


def _refuse_host(host: HostState) -> None:
    """Raises: ValueError when a host is in no state there is, or offers or gives what cannot be."""
    if host.state not in STATES:
        words = ", ".join(STATES)
        raise ValueError(f"cannot place: host {host.name} has the state {host.state!r}, which is none of {words}")
    for inventories in (host.inventories, *(part.inventories for part in host.parts)):
        for name, inventory in inventories.items():
            if problem := inventory.problem:
                raise ValueError(f"cannot place: host {host.name}: {name}: {problem}")
    for counts in (host.used, host.groups, *host.parts_used.values()):
        _refuse_counts(f": host {host.name}", counts)
    if host.parts:
        for fault in tree_faults((Provider(host.name, host.name), *host.parts)):
            raise ValueError(f"cannot place: host {host.name}: {fault}")


def _refuse_counts(whose: str, counts: Mapping[str, int]) -> None:
    """Raises: ValueError when something cannot be counted."""
    for name, count in counts.items():
        if not is_count(count, 0):
            raise ValueError(f"cannot place{whose}: {name} {count!r} is not an integer of 0 or more")


def _refuse_group(name: str, group: Group) -> None:
    """Raises: ValueError when a group has a policy that there is not, or takes nobody: nobody could keep its rule."""
    if group.policy not in tuple(Policy):
        words = ", ".join(Policy)
        raise ValueError(f"cannot place: group {name} has the policy {group.policy!r}, which is none of {words}")
    most = group.max_server_per_host
    if not is_count(most, 1):
        raise ValueError(f"cannot place: group {name}: max_server_per_host {most!r} is not an integer of 1 or more")
