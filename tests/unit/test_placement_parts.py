"""What placement says of a host whose parts it could not search to the end."""

from dataclasses import replace
from random import Random

from stacksmith.address import Address
from stacksmith.placement import (
    CandidateRequest,
    GroupPolicy,
    HostState,
    Inventory,
    Provider,
    Request,
    ResourceGroup,
    place,
)

CELLS, GROUPS = 13, 40


def puzzle() -> tuple[HostState, Request]:
    """Unequal groups that nearly fill the equal cells of one host: more than a search settles."""
    random = Random(0)
    amounts = [random.randint(150, 900) for _ in range(GROUPS)]
    room = {"NUMA_THREAD": Inventory(-(-sum(amounts) // CELLS) + 1)}
    cells = tuple(Provider(f"cell{i:02}", f"cell{i:02}", "hv1", room) for i in range(CELLS))
    groups = {f"_{i:02}": ResourceGroup({"NUMA_THREAD": amount}) for i, amount in enumerate(amounts)}
    asked = CandidateRequest(groups, GroupPolicy.NONE)
    host = HostState("hv1", {"VCPU": Inventory(64)}, parts=cells)
    return host, Request(Address("server", "big"), {"VCPU": 2}, parts=asked)


def test_a_host_whose_parts_were_not_searched_to_the_end_is_never_called_full() -> None:
    host, request = puzzle()
    (placed,) = place([request], [host], {})
    assert placed.cause.startswith("no arrangement found within the search limit (spread, ")
    assert "no host (of 1) was found to have room for it in its parts" in placed.cause
    assert "gave up after 5,000 steps" in placed.verdicts[0].reason
    assert placed.hint is not None and placed.hint.startswith("ask less of the parts of hv1, or for fewer of them: ")


def test_a_host_that_is_refused_for_something_else_too_is_no_reason_to_doubt() -> None:
    host, request = puzzle()
    (placed,) = place([replace(request, required=frozenset({"CUSTOM_SSD"}))], [host], {})
    assert placed.cause.startswith("no valid host: ")


def test_others_are_placed_and_told_of_as_if_it_were_not_there() -> None:
    host, request = puzzle()
    small = Request(Address("server", "small"), {"VCPU": 60})
    large = Request(Address("server", "large"), {"VCPU": 65})
    big, larger, smaller = place([request, small, large], [host], {})
    assert (big.host, larger.host, smaller.host) == (None, None, "hv1")
    assert larger.cause.startswith("no valid host: even if all were empty, no host (of 1) has VCPU 65")
