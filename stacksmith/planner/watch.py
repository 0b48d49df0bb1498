"""The rules of the servers of a stack that run, and which of them are broken where they are."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import cached_property

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.model.demand import Demand
from stacksmith.model.found import Found
from stacksmith.model.hardware import NOTHING_HELD
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.kinds.volume import VolumeSpec
from stacksmith.model.realised import Server
from stacksmith.model.stack import Stack
from stacksmith.placement.filter import unfit
from stacksmith.placement.host import INSTANCES, HostState
from stacksmith.placement.refusal import Refusal, Rule
from stacksmith.placement.request import NO_ZONE, Hint, Request
from stacksmith.planner import offence
from stacksmith.planner.asking import Asking
from stacksmith.planner.build import Wanted
from stacksmith.planner.excess import excesses
from stacksmith.planner.floor import lone_unit
from stacksmith.planner.hint import Hinted, hinted
from stacksmith.planner.ledger import Ledger
from stacksmith.planner.lost import lost
from stacksmith.planner.offence import Apart, Astray, Crowd, Follow, Full, Near, Offence, by_host
from stacksmith.planner.part import demands
from stacksmith.planner.schedule import kept_zone, zone_told

# Not a rule of the server: a host that is to be emptied is `rebalance --drain`, of one that is not read nothing is
# known.
_OF_THE_HOST = (Rule.STATE, Rule.REACH)


@dataclass
class Watch:
    """Servers of a stack on hosts, of which ``states`` count all that is there.

    ``found`` are what was found, by address, ``where`` the hosts of the servers that are looked at. Rules that depend
    on the server and its host alone are looked up once for all servers that ask the same.
    """

    stack: Stack
    ledger: Ledger
    states: Mapping[str, HostState]
    found: Mapping[Address, Found]
    where: Mapping[Address, str]
    _asking: Asking = field(init=False)
    _verdicts: dict[tuple[object, ...], tuple[Refusal, ...]] = field(default_factory=dict)
    _open: dict[tuple[object, ...], frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._asking = Asking(self.stack)

    @cached_property
    def rules(self) -> Sequence[offence.Rule]:
        """The rules of the servers: those that one breaks by itself only where it is broken."""
        return [*self._astray(), *self._groups(), *self._hints(), *self._full()]

    def offences(self, where: Mapping[Address, str] | None = None) -> list[Offence]:
        """What is broken, when servers are there instead of where they are."""
        if where is None:
            return [each for rule in self.rules for each in rule.broken(self.where)]
        moved = [(a, host) for a, host in where.items() if host != self.where[a]]
        found = [each for rule in self.rules for each in rule.broken(where)]
        return found + [each for address, host in moved for each in self._own(address, host)]

    def may_leave(self, address: Address) -> bool:
        """True when some other host, whatever is on it, may take the server."""
        return bool(self.hosts(address) - {self.where[address]})

    @cached_property
    def stuck(self) -> frozenset[object]:
        """The keys of what no move ends: a shared storage has too little, and who uses it may go nowhere else."""
        alone = [rule for rule in self.rules if isinstance(rule, Full) and not rule.servers]
        return frozenset(offence.key for rule in alone for offence in rule.broken(self.where))

    def frees(self, accepted: Container[object]) -> frozenset[str]:
        """The shared storages of which servers must leave some, if they are not accepted as they are."""
        full = [rule for rule in self.rules if isinstance(rule, Full) and rule.offence.key not in accepted]
        return frozenset(rule.provider for rule in full if rule.provider in self.ledger.shared)

    def hosts(self, address: Address) -> frozenset[str]:
        """The hosts that may take the server, whatever is on them."""
        zone = kept_zone(self.stack, self.stack.resources[address], self.where[address])
        key = (*self.question(address), zone)
        if key not in self._open:
            fitting = [s for s in self.states.values() if not self._refusals(address, s)]
            self._open[key] = frozenset(s.name for s in fitting if zone in (None, s.availability_zone or NO_ZONE))
        return self._open[key]

    def held_by_zone(self, address: Address) -> str:
        """Why the server may not go to hosts that would take it if its config drive had told it no zone; else empty."""
        zone = kept_zone(self.stack, self.stack.resources[address], self.where[address])
        if zone is None or self.may_leave(address):
            return ""
        others = [s for s in self.states.values() if (s.availability_zone or NO_ZONE) != zone]
        return "" if all(self._refusals(address, s) for s in others) else zone_told(zone)

    def question(self, address: Address) -> tuple[object, ...]:
        """Equal for servers that hosts answer alike, whatever is on them."""
        spec = self.stack.resources[address].spec
        assert isinstance(spec, ServerSpec)
        question = self._asking.of(spec)
        return (id(question), spec.host, spec.availability_zone, self._pins.get(address), *self._fixed_hints(address))

    def amounts(self, address: Address) -> dict[str, dict[str, int]]:
        """What a server takes with its volumes of its host and of the parts of it, by provider and class."""
        home, taken = self.where[address], defaultdict[str, dict[str, int]](dict)
        taken[home][INSTANCES] = 1
        for each in (address, *self._volumes(address)):
            for provider, amounts in self.ledger.taken(self.found.get(each)).items():
                for name, amount in amounts.items():
                    taken[provider][name] = taken[provider].get(name, 0) + amount
        return dict(taken)

    def _volumes(self, address: Address) -> list[Address]:
        spec = self.found[address].spec if address in self.found else None
        disks = spec.disks if isinstance(spec, Server) else ()
        return [Address.parse(disk.ref) for disk in disks if disk.source == "volume" and disk.ref]

    @cached_property
    def _pins(self) -> Mapping[Address, tuple[str, ...]]:
        """The hosts that servers are pinned to by their volumes."""
        specs = {a: r.spec for a, r in self.stack.resources.items() if a.kind == "volume"}
        pinned = {a: spec.host for a, spec in specs.items() if isinstance(spec, VolumeSpec) and spec.host}
        if not pinned:
            return {}
        pins = {a: sorted({pinned[v] for v in self._volumes(a) if v in pinned}) for a in self.where}
        return {a: tuple(hosts) for a, hosts in pins.items() if hosts}

    @cached_property
    def _demands(self) -> Mapping[Address, Demand]:
        return demands(self.stack)

    @cached_property
    def _hinted(self) -> Mapping[Address, Hinted]:
        return hinted(self.stack, self.ledger.snapshot, {})

    def _fixed_hints(self, address: Address) -> tuple[tuple[Hint, ...], tuple[Hint, ...]]:
        """What its hints say of hosts alone: of servers that are not of the stack."""
        hint = self._hinted.get(address)
        if hint is None:
            return ((), ())
        away = tuple(Hint("", each.words, each.hosts) for each in hint.away if each.hosts)
        return (away, tuple(each for each in hint.follows if not each.mark))

    def _refusals(self, address: Address, state: HostState) -> tuple[Refusal, ...]:
        key = (*self.question(address), state.name)
        if key not in self._verdicts:
            self._verdicts[key] = tuple(unfit(lone_unit(self._request(address), {}), state))
        return self._verdicts[key]

    def _request(self, address: Address) -> Request:
        """What it asks of a host whatever is there: no room, and no group."""
        spec = self.stack.resources[address].spec
        assert isinstance(spec, ServerSpec)
        question, (away, follows) = self._asking.of(spec), self._fixed_hints(address)
        return Request(
            address,
            {},
            required=question.required,
            forbidden=question.forbidden,
            availability_zone=spec.availability_zone,
            host=spec.host,
            with_hosts=self._pins.get(address, ()),
            beside="the pin of its volume",
            conditions=question.conditions,
            away=away,
            follows=follows,
        )

    def _own(self, address: Address, host: str) -> Iterator[Offence]:
        """What its host refuses of the server by itself."""
        for refusal in self._refusals(address, self.states[host]):
            if refusal.rule not in _OF_THE_HOST:
                yield Offence(refusal.rule.value, refusal.subject, host, refusal.reason, (address,))

    def _lost(self, address: Address, host: str) -> Iterator[Offence]:
        """What it holds of its host that the host does not offer."""
        there = self.found.get(address)
        wanted = self._demands.get(address) if there is not None and there.holds != NOTHING_HELD else None
        if there is not None and wanted is not None:
            for what, reason in lost(wanted, there.holds, self.ledger.layouts[host], self.states[host]):
                yield Offence(Rule.PARTS.value, what, host, reason, (address,))

    def _astray(self) -> Iterator[offence.Rule]:
        for address, host in self.where.items():
            yield from map(Astray, self._own(address, host))
            yield from map(Astray, self._lost(address, host))

    def _groups(self) -> Iterator[offence.Rule]:
        members: dict[str, dict[Address, str]] = defaultdict(dict)
        for address, host in self.where.items():
            spec = self.stack.resources[address].spec
            if isinstance(spec, ServerSpec) and spec.group:
                members[spec.group][address] = host
        for name, start in sorted(members.items()):
            group = self.stack.server_groups[name]
            if group.policy == "anti-affinity":
                yield Crowd(name, group.max_server_per_host, start)
            elif group.policy == "affinity":
                yield Near("affinity", name, f"affinity: {name} is", start, self.hosts)

    def _hints(self) -> Iterator[offence.Rule]:
        bound: dict[str, dict[Address, str]] = defaultdict(dict)
        bearers: dict[str, list[Address]] = defaultdict(list)
        for address, hint in self._hinted.items():
            if address in self.where:
                for mark in hint.marks:
                    bearers[mark].append(address)
                if hint.together is not None:
                    bound[hint.together][address] = self.where[address]
        for start in bound.values():
            told = f"same_host: {offence.names(list(start))} are"
            yield Near("filter", "SameHostFilter", told, start, self.hosts)
        yield from self._apart(bearers)
        for address in filter(self.where.__contains__, self._hinted):
            for each in self._hinted[address].follows:
                others = tuple(bearers.get(each.mark, ()))
                if each.mark and (others or each.hosts) and address not in others:
                    yield Follow(address, others, each.hosts, each.words, self.where, self.hosts)

    def _apart(self, bearers: Mapping[str, Sequence[Address]]) -> Iterator[offence.Rule]:
        keepers: dict[str, list[Address]] = defaultdict(list)
        for address, hint in self._hinted.items():
            for each in hint.away if address in self.where else ():
                keepers[each.mark].append(address)
        told = set()
        for mark, those in keepers.items():
            sides = (tuple(those), tuple(bearers.get(mark, ())))
            if sides[::-1] not in told:  # the other side has a mark for the same
                told.add(sides)
                yield Apart(*sides, self.where)

    def _full(self) -> Iterator[offence.Rule]:
        on_host = by_host(self.where, self.where)
        for each in excesses(self.states, on_host, self.ledger.shared):
            here = [a for host in sorted(each.within & on_host.keys()) for a in on_host[host]]
            amounts = {a: self.amounts(a).get(each.provider, {}).get(each.name, 0) for a in here}
            amounts = {a: amount for a, amount in amounts.items() if amount}
            if amounts:
                told = Offence("short", each.subject, each.host, each.reason, tuple(amounts))
                if not each.host:
                    amounts = {a: amount for a, amount in amounts.items() if self.hosts(a) - each.within}
                yield Full(told, each.units, amounts, each.within, each.provider, each.name)


def running(
    stack: Stack,
    ledger: Ledger,
    states: Iterable[HostState],
    found: Mapping[Address, Found],
    wanted: Mapping[Address, Wanted],
) -> tuple[Offence, ...]:
    """What servers break where they were found, of those that stay there: on hosts that were read."""
    hosts = {state.name: state for state in states if state.reachable and state.state != "failed"}
    where = {
        address: there.host
        for address in wanted
        if address.kind == "server"
        and (there := found.get(address)) is not None
        and there.host == wanted[address].host
        and not there.partial
        and there.host in hosts
    }
    return tuple(Watch(stack, ledger, hosts, found, where).offences()) if where else ()
