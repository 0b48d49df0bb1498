"""Filters that look at the image: what it needs to run, and which hosts are kept for which images."""

from typing import Final

from stacksmith.frozen import dataclass
from stacksmith.model.version import satisfies, version_of
from stacksmith.placement.host import HostState
from stacksmith.placement.refusal import Refusal, refused

# Nova's image properties in the order of a host's (architecture, hypervisor type, vm mode).
PROPERTIES: Final = ("hw_architecture", "img_hv_type", "hw_vm_mode")
VERSION: Final = "img_hv_requested_version"
_ALIASES: Final = {
    "amd64": "x86_64",
    "x64": "x86_64",
    "i386": "i686",
    "i486": "i686",
    "i586": "i686",
    "x86": "i686",
} | {
    "pv": "xen",
    "hv": "hvm",
    "baremetal": "hvm",
}
NAME: Final = "ImagePropertiesFilter"


@dataclass(frozen=True, slots=True)
class Runs:
    """ImagePropertiesFilter: the host runs guests of the image's architecture, hypervisor and vm mode ("" is any).

    ``version``: what the hypervisor's must be, as ``>=6.0,<9``.
    """

    wanted: tuple[str, ...]
    version: str = ""

    def refusal(self, host: HostState) -> Refusal | None:
        """Names what the host runs instead."""
        offered = host.capabilities.get("supported_instances") or ()
        if any(self.wanted) and not any(_suits(self.wanted, each) for each in offered):
            asked = "/".join(filter(None, self.wanted))
            have = ", ".join("/".join(each) for each in offered) or "what is not known"
            return refused(NAME, f"runs {have}, the image needs {asked}", f"use an image that {host.name} can run")
        number = host.capabilities.get("hypervisor_version")
        if self.version and number is not None and not satisfies(version_of(number), self.version):
            version = ".".join(map(str, version_of(number)))
            reason = f"hypervisor version {version}, the image needs {self.version}"
            return refused(NAME, reason, f"use an image for the hypervisor of {host.name}, or update it")
        return None


def canonical(value: str) -> str:
    """A name of an architecture, hypervisor or vm mode as hosts have it."""
    return _ALIASES.get(value.strip().lower(), value.strip().lower())


def _suits(wanted: tuple[str, ...], offered: tuple[str, ...]) -> bool:
    return all(not want or want in offered for want in wanted)


@dataclass(frozen=True, slots=True)
class IsolatedHosts:
    """IsolatedHostsFilter: isolated images go to isolated hosts; these take no others when ``restrict`` is set."""

    hosts: frozenset[str]
    isolated: bool
    restrict: bool

    def refusal(self, host: HostState) -> Refusal | None:
        """Says which of the two is isolated."""
        name, here = "IsolatedHostsFilter", host.name in self.hosts
        if self.isolated and not here:
            return refused(name, "the image is isolated, the host is not", f"add {host.name} to isolated_hosts")
        if here and not self.isolated and self.restrict:
            return refused(name, "the host takes isolated images only", f"take {host.name} out of isolated_hosts")
        return None
