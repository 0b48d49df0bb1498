"""Our dataclasses against the standard library's: alike in all but that they take assignments at run time."""

import dataclasses
import pickle
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacksmith.address import NAMESPACE, Address, address_of, identity
from stacksmith.frozen import dataclass
from stacksmith.placement import Request


def made(maker: object) -> type:
    """A class with a field of each sort."""

    class Thing:
        name: str
        parts: tuple[str, ...] = ()
        secret: str = dataclasses.field(default="", repr=False)
        seen: int = dataclasses.field(default=0, compare=False)

    return maker(Thing)  # type: ignore[operator, no-any-return]


OURS = made(dataclass(frozen=True, slots=True))
THEIRS = made(dataclasses.dataclass(frozen=True, slots=True))


def test_it_is_what_the_standard_library_makes() -> None:
    ours, theirs = OURS("a", ("b",), "s", 1), THEIRS("a", ("b",), "s", 1)
    assert (repr(ours), hash(ours)) == (repr(theirs), hash(theirs))
    assert ours == OURS("a", ("b",), "s", 2) and ours != theirs
    assert dataclasses.asdict(dataclasses.replace(ours, name="c")) == {**dataclasses.asdict(theirs), "name": "c"}
    assert OURS.__slots__ == THEIRS.__slots__ and not hasattr(ours, "__dict__")


def test_a_repr_or_hash_of_ones_own_stays() -> None:
    @dataclass(frozen=True)
    class Own:
        name: str

        def __repr__(self) -> str:
            return "own"

        def __hash__(self) -> int:
            return 7

    assert (repr(Own("a")), hash(Own("a"))) == ("own", 7)


def test_one_that_changes_has_no_hash() -> None:
    @dataclass(slots=True)
    class Changing:
        name: str

    with pytest.raises(TypeError):
        hash(Changing("a"))


def test_what_programs_are_given_refuses_at_run_time_too() -> None:
    request = Request(Address("server", "web"), {"VCPU": 1})
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.host = "hv1"  # type: ignore[misc]


def test_addresses_of_equal_parts_are_one_object() -> None:
    address = Address.parse("server.web[1]@hv1")
    assert address is address_of("server", "web", 1, "hv1") and address == Address("server", "web", 1, "hv1")
    assert address_of("server", "web") is Address.parse("server.web") is address.block
    assert address_of("server", "web", "1") is not address_of("server", "web", 1)


@given(st.text("abc/ é", max_size=9), st.text("xyz-", max_size=9), st.integers(0, 3))
def test_identities_are_what_the_standard_library_makes(fleet: str, stack: str, generation: int) -> None:
    made = uuid5(UUID(bytes=NAMESPACE), f"{fleet}/{stack}/server.web[2]/{generation}")
    assert identity(fleet, stack, address_of("server", "web", 2), generation) == str(made)


def test_an_address_keeps_its_hash_to_itself() -> None:
    address = Address("server", "web")
    hash(address)
    copy = pickle.loads(pickle.dumps(address))
    assert copy == address and not hasattr(copy, "_hash") and hash(copy) == hash(address)
    assert [each.name for each in dataclasses.fields(address)] == ["kind", "name", "key", "host"]
