"""What a ledger refuses so that what it grants can be read again."""

from typing import Any

import pytest

from stacksmith.placement import Claim, Inventory, Ledger, Refused, Reshape, load


def ledger() -> Ledger:
    providers = {"hv1": {"inventories": {"VCPU": {"total": 8}}}}
    return Ledger(load({"providers": providers, "consumers": {"old": {"allocations": {"hv1": {"VCPU": 2}}}}}))


@pytest.mark.parametrize("consumer", [None, 5, "", "x" * 256])
def test_claim_of_what_cannot_be_a_consumer_is_refused(consumer: Any) -> None:
    books = ledger()
    with pytest.raises(Refused, match="is no consumer's uuid: 1 to 255 characters"):
        books.claim(Claim(consumer, {"hv1": {"VCPU": 1}}))
    assert books.world == ledger().world


@pytest.mark.parametrize("generation", [1.0, True])
def test_claim_at_a_generation_that_is_no_number_is_refused(generation: Any) -> None:
    books = ledger()
    with pytest.raises(Refused, match=f"consumers.old: generation {generation} is not an integer of 0 or more"):
        books.claim(Claim("old", {"hv1": {"VCPU": 1}}, generation))
    assert books.world == ledger().world


def test_claim_of_more_than_can_be_counted_is_refused() -> None:
    with pytest.raises(Refused, match=r"hv1: VCPU 10+ is not an integer of 1 or more"):
        ledger().claim(Claim("new", {"hv1": {"VCPU": 10**400}}))


@pytest.mark.parametrize("generation", [None, 0.0, False])
def test_write_of_a_provider_without_its_generation_is_refused(generation: Any) -> None:
    books, offer = ledger(), {"VCPU": Inventory(4)}
    for write in (
        lambda: books.set_inventories("hv1", generation, offer),
        lambda: books.set_traits("hv1", generation, ()),
        lambda: books.set_aggregates("hv1", generation, ()),
        lambda: books.reshape([Reshape("hv1", generation, offer)], []),
    ):
        with pytest.raises(Refused, match=f"hv1 is at generation 0, expected at generation {generation}"):
            write()
