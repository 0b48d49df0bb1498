"""Filters that look at the metadata of a host's aggregates."""

from collections.abc import Iterable

from stacksmith.frozen import dataclass
from stacksmith.model.operator import matches
from stacksmith.model.scheduler import TENANTS
from stacksmith.placement.host import HostState
from stacksmith.placement.refusal import Refusal, refused


def values(host: HostState, key: str) -> list[str]:
    """What the host's aggregates say for a key, commas between values, in order and once each."""
    texts = host.metadata.get(key, ())
    return list(dict.fromkeys(part.strip() for text in texts for part in text.split(",")))


@dataclass(frozen=True, slots=True)
class ExtraSpecs:
    """AggregateInstanceExtraSpecsFilter: for every key some aggregate's value meets the flavor's requirement."""

    requirements: tuple[tuple[str, str], ...]

    def refusal(self, host: HostState) -> Refusal | None:
        """The first key that is missing or not met."""
        for key, requirement in self.requirements:
            have = values(host, key)
            if not any(_meets(value, requirement) for value in have):
                told = f"{key} is {' or '.join(have)}" if have else f"no aggregate says {key}"
                reason = f"{told}, the flavor asks for {requirement!r}"
                return refused("AggregateInstanceExtraSpecsFilter", reason, f"put {host.name} into an aggregate where "
                               f"{key} is {requirement!r}")  # fmt: skip
        return None


def _meets(value: str, requirement: str) -> bool:
    try:
        return matches(value, requirement)
    except ValueError:
        return False  # a value that is no number meets no comparison of numbers


@dataclass(frozen=True, slots=True)
class ImageProperties:
    """AggregateImagePropertiesIsolation: what aggregates and image both say must agree."""

    properties: tuple[tuple[str, str], ...]

    def refusal(self, host: HostState) -> Refusal | None:
        """The first property that the host's aggregates want otherwise."""
        for key, wanted in self.properties:
            if key in host.metadata and wanted not in (have := values(host, key)):
                reason = f"its aggregates take images with {key} {' or '.join(have)}, this has {wanted}"
                return refused("AggregateImagePropertiesIsolation", reason, f"use an image whose {key} is {have[0]}, "
                               f"or another aggregate for {host.name}")  # fmt: skip
        return None


@dataclass(frozen=True, slots=True)
class FlavorNames:
    """AggregateTypeAffinityFilter: aggregates with instance_type take only the flavors it names."""

    flavor: str

    def refusal(self, host: HostState) -> Refusal | None:
        """Names the flavors it takes."""
        have = values(host, "instance_type")
        if not have or self.flavor in have:
            return None
        reason = f"its aggregates take flavor {' or '.join(have)}, not {self.flavor}"
        return refused("AggregateTypeAffinityFilter", reason, f"add {self.flavor} to instance_type of an aggregate of "
                       f"{host.name}")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tenants:
    """AggregateMultiTenancyIsolation: aggregates with filter_tenant_id take only the tenants it names."""

    tenant: str

    def refusal(self, host: HostState) -> Refusal | None:
        """Names the tenants it takes; keys that begin so count as one."""
        keys = sorted(key for key in host.metadata if key.startswith(TENANTS))
        have = list(dict.fromkeys(value for key in keys for value in values(host, key)))
        if not have or self.tenant in have:
            return None
        reason = f"its aggregates take tenant {' or '.join(have)}, not {self.tenant}"
        return refused("AggregateMultiTenancyIsolation", reason, f"add {self.tenant} to {keys[0]} of an aggregate of "
                       f"{host.name}")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Isolation:
    """Nova's isolate_aggregates: an aggregate with trait:X required takes only those who require X."""

    traits: frozenset[str]

    def refusal(self, host: HostState) -> Refusal | None:
        """Names the traits that the host's aggregates want asked for."""
        wanted = isolating(host.metadata.items())
        if wanted <= self.traits:
            return None
        names = " and ".join(sorted(wanted - self.traits))
        reason = f"its aggregates take only servers that require trait {names}"
        return refused("isolate_aggregates", reason, f"require trait {names}: {host.name} is kept for it")


def isolating(metadata: Iterable[tuple[str, tuple[str, ...]]]) -> frozenset[str]:
    """The traits that aggregates with this metadata are kept for."""
    pairs = ((key.partition(":"), given) for key, given in metadata)
    return frozenset(name for (scope, _, name), given in pairs if scope == "trait" and name and "required" in given)
