"""ComputeCapabilitiesFilter: what hosts are, against the extra specs of a flavor."""

from collections.abc import Mapping

from stacksmith.frozen import dataclass
from stacksmith.model.operator import matches
from stacksmith.model.query import VARIABLES, Trend
from stacksmith.placement.filters.query import value_of
from stacksmith.placement.host import HostState
from stacksmith.placement.refusal import Refusal, refused

NAME = "ComputeCapabilitiesFilter"


def is_steady(path: tuple[str, ...]) -> bool:
    """True for a capability that does not change with what is put on a host."""
    return VARIABLES.get(".".join(path), ("", Trend.STEADY))[1] is Trend.STEADY


@dataclass(frozen=True, slots=True)
class Capabilities:
    """For each path of names, as (cpu_info, arch), what the host has there must meet the requirement.

    ``asked`` is set where a host without the capability fails; an unscoped key it lacks is passed over, as in Nova.
    """

    requirements: tuple[tuple[tuple[str, ...], str, bool], ...]

    @property
    def filter(self) -> str:
        """Its name."""
        return NAME

    @property
    def is_closing(self) -> bool:
        """False: of what changes any may be asked."""
        return False

    def passes(self, host: HostState, used: Mapping[str, int]) -> bool:
        """Whether the host meets all when this much of it is used."""
        return self.refusal_at(host, used) is None

    def refusal(self, host: HostState) -> Refusal | None:
        """The first that is not met before the batch, with what the host has."""
        return self.refusal_at(host, host.used)

    def refusal_at(self, host: HostState, used: Mapping[str, int]) -> Refusal | None:
        """The first that is not met when this much of the host is used, with what it has."""
        for path, requirement, asked in self.requirements:
            have = value_of(".".join(path), host, used)
            name = ":".join(path)
            if have is None and not asked:
                continue
            if have is None:
                reason = f"no capability {name} is known, {requirement!r} is asked"
                return refused(NAME, reason, f"do not ask for {name}: {host.name} has none")
            if not _meets(str(have), requirement):
                reason = f"{name} is {have}, {requirement!r} is asked"
                return refused(NAME, reason, f"ask for {name} as {host.name} has it")
        return None


def _meets(value: str, requirement: str) -> bool:
    try:
        return matches(value, requirement)
    except ValueError:
        return False
