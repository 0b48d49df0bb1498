"""MetricsFilter: hosts of which everything is known that the weights are for."""

from stacksmith.frozen import dataclass
from stacksmith.placement.host import HostState
from stacksmith.placement.refusal import Refusal, refused


@dataclass(frozen=True, slots=True)
class Metrics:
    """The host has each of these metrics."""

    names: tuple[str, ...]

    def refusal(self, host: HostState) -> Refusal | None:
        """Names those it lacks."""
        lacks = [name for name in self.names if name not in host.metrics]
        if not lacks:
            return None
        names = " and ".join(lacks)
        return refused("MetricsFilter", f"no metric {names}", f"write {names} into metrics: of {host.name}")
