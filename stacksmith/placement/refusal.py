"""A host's reason to refuse, and what may bring one."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from stacksmith.placement.host import HostState

NOT_REACHABLE: Final = "not reachable"  # begins the reason of a host that was not read


class Rule(StrEnum):
    """What a host can be refused for, in the order it is told."""

    STATE = "state"
    REACH = "reach"
    PIN = "pin"
    BESIDE = "beside"
    ZONE = "availability zone"
    TRAIT = "trait"
    FORBIDDEN = "forbidden trait"
    AGGREGATE = "aggregate"
    FILTER = "filter"
    AFFINITY = "affinity"
    UNIT = "unit"
    MISSING = "missing"
    ANTI_AFFINITY = "anti-affinity"
    SHORT = "short"
    PARTS = "parts"
    NO_PARTS = "no parts"
    UNSETTLED = "unsettled parts"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason. ``subject`` is the class, trait, group, filter or name it is about; ``short``: the units that lack.

    ``about`` tells refusals of one filter apart that are of different hints. ``help`` says what would make the host
    take the request, where the rule alone does not tell.
    """

    rule: Rule
    subject: str
    reason: str
    short: float = 0.0
    help: str = ""
    about: str = ""


class Condition(Protocol):
    """What one of nova's filters asks of hosts for one request; equal conditions are equal and hash alike."""

    def refusal(self, host: HostState) -> Refusal | None:
        """Why the host does not pass, None when it does. Does not change while a batch is placed."""


class Momentary(Condition, Protocol):
    """A condition whose answer changes with what a batch puts on a host: it is asked at the moment of placing.

    ``refusal`` is that before the batch.
    """

    @property
    def filter(self) -> str:
        """The filter that asks."""

    @property
    def is_closing(self) -> bool:
        """True when a host that refuses before the batch refuses as long as it is placed."""

    def passes(self, host: HostState, used: Mapping[str, int]) -> bool:
        """The answer of the host when this much of it is used: units by class."""

    def refusal_at(self, host: HostState, used: Mapping[str, int]) -> Refusal | None:
        """Why the host does not pass when this much of it is used."""


def refused(name: str, reason: str, help: str) -> Refusal:
    """The refusal of the filter ``name``."""
    return Refusal(Rule.FILTER, name, reason, help=help)
