"""Every folder of tests/cases/candidates: a world, what is asked of it or done to it, and the recorded answer."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacksmith.placement import (
    Candidate,
    Claim,
    GaveUp,
    Ledger,
    Provider,
    Refused,
    Reshape,
    World,
    candidates,
    load,
    load_request,
    parse_query,
    verdicts,
)

CASES = Path(__file__).parents[1] / "cases" / "candidates"
SHOWN = 12


@pytest.mark.parametrize("name", sorted(path.name for path in CASES.iterdir()))
def test_candidate_case_answers_as_recorded(name: str, golden: Callable[[str, str], None]) -> None:
    case = yaml.safe_load((CASES / name / "case.yaml").read_text())
    golden("\n".join(told(case)) + "\n", f"candidates/{name}/expected.txt")


def told(case: Mapping[str, Any]) -> Iterator[str]:
    """The answers to ``requests`` and then the outcome of each of ``steps``."""
    try:
        ledger = Ledger(load(case.get("world")))
    except Refused as refused:
        yield from refusal("world", refused)
        return
    for request in case.get("requests", ()):
        yield from asked(ledger, request)
    for step in case.get("steps", ()):
        ((verb, arguments),) = step.items()
        before = ledger.world
        try:
            STEPS[verb](ledger, arguments)
            yield f"{verb}: done"
            yield from changed(before, ledger.world)
        except Refused as refused:
            assert ledger.world == before
            yield from refusal(verb, refused)


def asked(ledger: Ledger, data: Mapping[str, Any] | str) -> Iterator[str]:
    try:
        request = parse_query(data) if isinstance(data, str) else load_request(data)
    except Refused as refused:
        yield from refusal("request", refused)
        return
    found, gave_up = [], ""
    try:
        found.extend(candidates(ledger, request))
    except GaveUp as fault:
        gave_up = f"gave up: {fault}"
    yield f"{len(found)} candidate{'s' * (len(found) != 1)}"
    yield from (shown(ledger, candidate) for candidate in found[:SHOWN])
    yield from ("  ..." for _ in found[SHOWN : SHOWN + 1])
    yield from filter(None, [gave_up])
    for verdict in verdicts(ledger, request):
        yield f"{'+' if verdict.fits else '-'} {verdict.host}: {verdict.reason}"


def shown(ledger: Ledger, candidate: Candidate) -> str:
    def names(uuids: Any) -> str:
        return " ".join(ledger.provider(uuid).name for uuid in uuids)

    taken = "; ".join(f"{names([uuid])} {units(amounts)}" for uuid, amounts in candidate.allocations.items())
    groups = ", ".join(f"{group or 'unsuffixed'} {names(uuids)}" for group, uuids in candidate.mappings.items())
    return f"  {taken} ({groups})"


def units(amounts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {amount}" for name, amount in amounts.items())


def refusal(what: str, refused: Refused) -> Iterator[str]:
    yield f"{what}: refused"
    yield from (f"  {type(reason).__name__}: {reason}" for reason in refused.reasons)


def changed(before: World, after: World) -> Iterator[str]:
    old: dict[object, object] = {p.uuid: p for p in before.providers} | {("c", c.uuid): c for c in before.consumers}
    for provider in after.providers:
        was = old.pop(provider.uuid, None)
        if was != provider:
            yield f"  {provider.name}: generation {provider.generation}, {described(provider)}"
    for consumer in after.consumers:
        if old.pop(("c", consumer.uuid), None) != consumer:
            held = "; ".join(f"{uuid} {units(amounts)}" for uuid, amounts in consumer.allocations.items())
            yield f"  consumer {consumer.uuid}: generation {consumer.generation}, {held}"
    yield from (f"  {key[1] if isinstance(key, tuple) else key}: gone" for key in old)


def described(provider: Provider) -> str:
    offer = {name: inventory.total for name, inventory in provider.inventories.items()}
    rest = [f"in {provider.parent}"] if provider.parent else []
    rest += sorted(provider.traits) + sorted(provider.aggregates)
    return ", ".join([units(offer) or "nothing", *rest])


def claims(data: Any) -> list[Claim]:
    return [Claim(item["consumer"], item.get("allocations", {}), item.get("generation")) for item in data]


def provider(data: Mapping[str, Any]) -> Provider:
    (found,) = load(
        {"providers": {data["name"]: {k: v for k, v in data.items() if k not in ("name", "parent")}}}
    ).providers
    return Provider(found.uuid, found.name, data.get("parent"), found.inventories, found.traits, found.aggregates)


def offer(data: Mapping[str, Any]) -> Mapping[str, Any]:
    return provider({"name": "any", "inventories": data}).inventories


def reshape(ledger: Ledger, data: Mapping[str, Any]) -> None:
    shapes = [Reshape(s["provider"], s["generation"], offer(s["inventories"])) for s in data["inventories"]]
    ledger.reshape(shapes, claims(data.get("claims", ())))


STEPS: dict[str, Callable[[Ledger, Any], object]] = {
    "claim": lambda ledger, data: ledger.claim(*claims(data)),
    "claim_at": lambda ledger, data: ledger.claim(*claims(data["claims"]), generations=data["generations"]),
    "release": lambda ledger, data: ledger.release(data["consumer"], data.get("generation")),
    "create": lambda ledger, data: ledger.create(*map(provider, data)),
    "delete": lambda ledger, data: ledger.delete(data),
    "rename": lambda ledger, data: ledger.rename(data["uuid"], data["name"]),
    "move": lambda ledger, data: ledger.move(data["uuid"], data["parent"]),
    "set_inventories": lambda ledger, data: ledger.set_inventories(
        data["uuid"], data["generation"], offer(data["inventories"])
    ),
    "set_traits": lambda ledger, data: ledger.set_traits(data["uuid"], data["generation"], data["traits"]),
    "set_aggregates": lambda ledger, data: ledger.set_aggregates(data["uuid"], data["generation"], data["aggregates"]),
    "reshape": reshape,
}
