"""The standard names of resource classes and traits, of os-resource-classes and os-traits; others start with CUSTOM_.

Both packages are imported when a name asks for them: os-traits runs its 46 modules then, tens of milliseconds. Names
of what every host offers or has by itself ask for neither.
"""

from functools import cache
from typing import Final

from stacksmith.model.host_trait import HOST_TRAITS
from stacksmith.model.near import meant

OWN: Final = "CUSTOM_"
_OFFERED: Final = frozenset({"VCPU", "PCPU", "MEMORY_MB", "DISK_GB"})


@cache
def standard_traits() -> frozenset[str]:
    """Every trait of os-traits."""
    import os_traits

    return frozenset(os_traits.get_traits())


@cache
def standard_classes() -> frozenset[str]:
    """Every resource class of os-resource-classes."""
    import os_resource_classes

    return frozenset(os_resource_classes.STANDARDS)


def is_trait(name: str) -> bool:
    """True for a standard trait and for one that may be somebody's own."""
    return name.startswith(OWN) or name in HOST_TRAITS or name in standard_traits()


def is_class(name: str) -> bool:
    """True for a standard resource class and for one that may be somebody's own."""
    return name.startswith(OWN) or name in _OFFERED or name in standard_classes()


def nearest(name: str, names: frozenset[str], what: str) -> str:
    """A hint for a name that is none of these."""
    return meant(name.upper(), sorted(names), 0.8) or f"a {what} of your own starts with {OWN}"
