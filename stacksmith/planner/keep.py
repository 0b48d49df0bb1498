"""The fewest migrations after which no server runs where a rule does not let it be."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from itertools import combinations, islice

from stacksmith.address import Address
from stacksmith.diagnostics import Faults, error
from stacksmith.frozen import dataclass
from stacksmith.placement.refusal import Rule
from stacksmith.planner.aim import Aim, Outcome
from stacksmith.planner.inventory import host_states
from stacksmith.planner.layout import cell_uuid, device_uuid
from stacksmith.planner.ledger import Ledger
from stacksmith.planner.make import PlanOptions
from stacksmith.planner.mend import Moving, Search
from stacksmith.planner.offence import Astray, Full, Offence, names
from stacksmith.planner.plan import Operation, Plan
from stacksmith.planner.scene import Scene, whereabouts
from stacksmith.planner.view import view_of
from stacksmith.planner.watch import Watch

MOST_TRIES = 500  # sets of servers that are tried before the search for the fewest moves is given up,
MOST_WIDER = 100  # of those with servers that break no rule and make room for others so many more;
MOST_WAYS = 50  # other places for servers that would wait for each other
LARGE = 200  # fewer of a stack of more servers than this
MORE = 3  # servers by which these sets are larger at most

Keys = frozenset[object]


def keep_rules(scene: Scene, aim: Aim) -> Plan:
    """The plan with the fewest migrations that end what is broken, or that come nearest with as many as are allowed.

    Where servers could only exchange full hosts, one of them stops on a third host, and is brought on by the next
    rebalance. What cannot be mended is told, and does not keep the rest from it.
    Raises: Faults when nothing of it can be mended.
    """
    watch = watch_of(scene)
    offences = watch.offences()
    if not offences:
        return replace(scene.plan(PlanOptions()), outcome=Outcome())
    mending, causes = _Mending(scene, watch, _leaving(offences)), dict[object, str]()
    found = mending.whole(frozenset())
    if found is None and (stop := mending.stopover(aim.max_moves)) is not None:
        return stop
    if found is None:
        found, causes = mending.in_part(offences)
    is_cut = aim.max_moves is not None and len(found.moving) > aim.max_moves
    if aim.max_moves is not None and is_cut:
        found = mending.cut(found.moving, aim.max_moves)
    found = mending.in_place(found)
    if not (found.moving or found.anew or is_cut):
        raise mending.faults[0] if mending.faults else _nothing(offences[0], watch)
    left = [_told(each, causes.get(each.key, "")) for each in mending.left(found.plan) if each.key not in found.ended]
    return replace(found.plan, outcome=Outcome(found.is_fewest, tuple(left)))


def _leaving(offences: Iterable[Offence]) -> Moving:
    return frozenset(a for each in offences if each.rule in (Rule.PARTS, Rule.SHORT) for a in each.servers)


def watch_of(scene: Scene) -> Watch:
    """The rules of the servers of a stack where they are. Raises: Faults when other changes come first."""
    where = whereabouts(scene)
    stack, snapshot = scene.stack, scene.snapshot
    ledger = Ledger(stack.name, stack.fleet, snapshot, scene.consumers)
    states = host_states(stack.fleet, snapshot, (), {}, pending=ledger.pending())
    found = view_of(snapshot, scene.records).found
    return Watch(stack, ledger, {state.name: state for state in states}, found, where)


@dataclass(frozen=True, slots=True)
class _Found:
    """A plan in which these servers move, and those ``anew`` get other parts of their hosts, which ends what is
    ``ended``."""

    plan: Plan
    moving: Moving
    is_fewest: bool = True
    anew: Moving = frozenset()
    ended: Keys = frozenset()


@dataclass(slots=True)
class _Mending:
    """Tries sets of servers, each with a plan; ``faults`` are those of the sets that no plan was found for.

    ``leaving`` are servers that hold what their host does not offer, or has too little of: new there they could get
    other parts of it.
    """

    scene: Scene
    watch: Watch
    leaving: Moving
    faults: list[Faults] = field(default_factory=list)
    circles: list[Moving] = field(default_factory=list)
    _known: dict[tuple[object, ...], Plan | None] = field(default_factory=dict)

    def whole(self, accepted: Keys) -> _Found | None:
        """The fewest moves after which only the accepted offences are left."""
        search = Search(self.watch, accepted)
        failed: dict[Moving, None] = {}
        found = self._first(search, islice(_growing(search), self._at_most(MOST_TRIES)), failed)
        is_cut = search.is_cut or len(failed) >= self._at_most(MOST_TRIES)
        most = len(found.moving) - 1 if found is not None else len(self.watch.where)
        frontier, left = list(failed), self._at_most(MOST_WIDER)
        while frontier and left > 0:  # first with one server more, then with two, as long as sets may be tried
            wider = (m for first in frontier for m in search.wider(first, min(most, len(first) + MORE)))
            frontier = list(islice(dict.fromkeys(m for m in wider if m not in failed), left))
            left -= len(frontier)
            if (fewer := self._first(search, sorted(frontier, key=len), failed)) is not None:
                found = fewer
                break
        is_cut = is_cut or search.is_cut or left <= 0
        return None if found is None else replace(found, is_fewest=not is_cut)

    def _first(self, search: Search, sets: Iterable[Moving], failed: dict[Moving, None]) -> _Found | None:
        for moving in sets:
            if moving not in failed:
                if (found := self._try(search, moving)) is not None:
                    return found
                failed[moving] = None
        return None

    def _at_most(self, count: int) -> int:
        return max(1, count * LARGE // max(LARGE, len(self.watch.where)))

    def in_part(self, offences: Sequence[Offence]) -> tuple[_Found, dict[object, str]]:
        """The plan that mends what can be, perhaps nothing, and why the rest cannot."""
        causes: dict[object, str] = {}
        accepted = frozenset[object]()
        while (found := self.whole(accepted)) is None:
            hopeless = self._hopeless(offences, accepted)
            causes |= hopeless
            accepted |= hopeless.keys()
        for key in islice(causes, self._at_most(MOST_WIDER)):  # one may have been given up for the sake of another
            if (more := self.whole(accepted - {key})) is not None:
                found, accepted = more, accepted - {key}
        return found, causes

    def _hopeless(self, offences: Sequence[Offence], accepted: Keys) -> dict[object, str]:
        """Offences to give up, and why: those whose servers nothing else can take, else those of who found no host."""
        left = [each for each in offences if each.key not in accepted]
        away = self.watch.stuck & {each.key for each in left}
        if away:
            return dict.fromkeys(away, "no host that does not share it may take them")
        stuck = [each for each in left if not any(map(self.watch.may_leave, each.servers))]
        if stuck:
            return {each.key: self._no_other(each) for each in stuck}
        for fault in self.faults[-1:]:
            blamed = {d.address: d.message for d in fault.diagnostics if d.address is not None}
            named = [each for each in left if not blamed.keys().isdisjoint(each.servers)]
            if named:
                return {each.key: next(blamed[a] for a in each.servers if a in blamed) for each in named[:1]}
        cause = self.faults[-1].diagnostics[0].message if self.faults else "no set of migrations that was tried ends it"
        return {left[-1].key: cause}

    def _no_other(self, offence: Offence) -> str:
        told = next(filter(None, map(self.watch.held_by_zone, offence.servers)), "")
        return f"no other host may take it{': ' if told else ''}{told}"

    def cut(self, moving: Moving, most: int) -> _Found:
        """As many of the moves as are allowed, so that no other rule is broken by them."""
        offences = self.watch.offences()
        search = Search(self.watch, frozenset(each.key for each in offences))
        must = {each.servers[0] for each in offences if len(each.servers) == 1}
        ordered = sorted(moving, key=lambda a: (a not in must, a.order))
        fewer = (frozenset(some) for size in range(most, 0, -1) for some in combinations(ordered, size))
        found = self._first(search, islice(fewer, self._at_most(MOST_TRIES)), {})
        return found or _Found(self.scene.plan(PlanOptions()), frozenset())

    def stopover(self, most: int | None) -> Plan | None:
        """A plan in which one server of a circle goes to a third host, so that the others can go where they must."""
        hosts = [n for n, host in sorted(self.scene.stack.fleet.hosts.items()) if host.state == "enabled"]
        where = self.watch.where
        circles = [each for each in self.circles if most is None or len(each) <= most]
        stops = ((a, host, moving) for moving in circles for a in sorted(moving) for host in hosts if host != where[a])
        for address, host, moving in islice(stops, self._at_most(MOST_TRIES)):
            try:
                plan = self.scene.moves(self._options(moving, {address: host}))
            except Faults:
                continue
            if len(self.left(plan)) == 1:
                words = f"{address} stops on {host} on its way: apply this, then rebalance again"
                return replace(plan, outcome=Outcome(is_fewest=False, left=(words,)))
        return None

    def in_place(self, found: _Found) -> _Found:
        """With other parts of their own hosts for servers whose parts are no more, or not enough, where these are left:
        that is a restart, and no migration did it."""
        left = {each.key for each in self.left(found.plan)}
        for rule in self.watch.rules:
            if isinstance(rule, Astray | Full) and rule.offence.key in left and self._is_of_parts(rule):
                found = self._again(found, rule)
        return found

    def _is_of_parts(self, rule: Astray | Full) -> bool:
        host, layout = rule.offence.host, self.watch.ledger.layouts.get(rule.offence.host)
        if isinstance(rule, Astray) or layout is None:
            return rule.offence.rule == Rule.PARTS
        cells = {cell_uuid(host, number) for number, _ in layout.cells}
        return rule.provider in cells | {device_uuid(host, address) for address, _ in layout.devices}

    def _again(self, found: _Found, rule: Astray | Full) -> _Found:
        """With as many servers of one rule as end it, if some do."""
        more = found
        to = {s.address: s.host for s in found.plan.steps if s.address in found.moving}
        for address in islice(rule.missing(found.moving, ()), self._at_most(MOST_WAYS)):
            anew = more.anew | {address}
            try:
                plan = self.scene.moves(PlanOptions(moving=found.moving, to=to, away=self.leaving, anew=anew))
            except Faults:
                continue
            more = replace(more, plan=plan, anew=anew, is_fewest=False)
            gone = found.moving | anew  # who is put where it was finds room there: then it is not too little any more
            if isinstance(rule, Astray) or sum(rule.amounts[a] for a in rule.servers if a in gone) >= rule.excess:
                return replace(more, ended=more.ended | {rule.offence.key})
        return found

    def left(self, plan: Plan) -> list[Offence]:
        """What is broken after a plan."""
        moves = {s.address: s.host for s in plan.steps if s.operation is Operation.MIGRATE}
        return self.watch.offences({a: moves.get(a, host) for a, host in self.watch.where.items()})

    def _try(self, search: Search, moving: Moving) -> _Found | None:
        """The plan in which these move, when it leaves no other offences than those that are accepted."""
        to = search.goals(moving)
        options = self._options(moving, to, search.accepted)
        key = (moving, frozenset(to.items()), options.frees)
        if key not in self._known:
            self._known[key] = self._plan(options)
        plan = self._known[key]
        if plan is None or any(each.key not in search.accepted for each in self.left(plan)):
            return None
        return _Found(plan, moving)

    def _options(self, moving: Moving, to: Mapping[Address, str], accepted: Collection[object] = ()) -> PlanOptions:
        return PlanOptions(moving=moving, to=to, away=self.leaving, frees=self.watch.frees(accepted))

    def _plan(self, options: PlanOptions) -> Plan | None:
        try:
            return self.scene.moves(options)
        except Faults as fault:
            self.faults.append(fault)
            if fault.diagnostics[0].code != "circular-steps":
                return None
            self.circles.append(options.moving)
        return self._elsewhere(options)

    def _elsewhere(self, options: PlanOptions) -> Plan | None:
        """The plan in which one of those that would wait for each other goes to a host that it was not placed on."""
        ways = (
            replace(options, to={**options.to, address: host})
            for address in sorted(options.moving - options.to.keys(), key=lambda a: a.order)
            for host in sorted(self.watch.hosts(address) - {self.watch.where[address]})
        )
        for way in islice(ways, self._at_most(MOST_WAYS)):
            with suppress(Faults):
                return self.scene.moves(way)
        return None


def _growing(search: Search) -> Iterator[Moving]:
    for size in range(len(search.forced), search.most + 1):
        yield from search.sets(size)
        if search.is_cut:
            return


def _told(offence: Offence, cause: str) -> str:
    """An offence that is left, for the outcome."""
    on = f"on {offence.host} " if offence.host else ""
    why = f"; {cause}" if cause else ""
    return f"{names(offence.servers)} {_are(offence)} {on}against the rules: {offence.reason}{why}"


def _nothing(offence: Offence, watch: Watch) -> Faults:
    message = f"cannot mend where {names(offence.servers)} {_are(offence)}: {offence.reason}"
    told = next(filter(None, map(watch.held_by_zone, offence.servers)), "")
    hint = told or "no other host may take it, whatever is there: stacksmith placement explain shows why"
    return Faults([error("no-valid-host", message, hint=hint, address=offence.servers[0])])


def _are(offence: Offence) -> str:
    return "is" if len(offence.servers) == 1 else "are"
