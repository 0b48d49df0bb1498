"""ComputeCapabilitiesFilter: what hosts are, against the extra specs of a flavor."""

from collections.abc import Mapping

from stacksmith.frozen import dataclass
from stacksmith.model.operator import matches
from stacksmith.model.types import JSON
from stacksmith.placement.host import HostState
from stacksmith.placement.refusal import Refusal, refused

NAME = "ComputeCapabilitiesFilter"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """For each path of names, as (cpu_info, arch), what the host has there must meet the requirement.

    ``asked`` is set where a host without the capability fails; an unscoped key it lacks is passed over, as in Nova.
    """

    requirements: tuple[tuple[tuple[str, ...], str, bool], ...]

    def refusal(self, host: HostState) -> Refusal | None:
        """The first that is not met, with what the host has."""
        for path, requirement, asked in self.requirements:
            have = _at(host.capabilities, path)
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


def _at(capabilities: Mapping[str, JSON], path: tuple[str, ...]) -> JSON:
    found: JSON = capabilities
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
