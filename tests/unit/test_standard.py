"""Standard traits and resource classes."""

import os_resource_classes
import os_traits
import pytest

from stacksmith.model.host_trait import HOST_TRAITS
from stacksmith.model.standard import is_class, is_trait, standard_classes, standard_traits


def test_what_hosts_have_by_themselves_is_of_os_traits() -> None:
    assert sorted(HOST_TRAITS - set(os_traits.get_traits())) == []


def test_every_name_of_the_packages_is_standard() -> None:
    assert [name for name in os_traits.get_traits() if not is_trait(name)] == []
    assert [name for name in os_resource_classes.STANDARDS if not is_class(name)] == []
    assert len(standard_traits()) > 300
    assert {"VCPU", "PCPU", "MEMORY_MB", "DISK_GB"} < standard_classes()


@pytest.mark.parametrize(
    "name", ["", "CUSTOM_NAMESPACE", "os_traits", "CUSTOM", "VCPUS", "TEST_DIR", "hw_cpu_x86_avx2"]
)
def test_other_names_are_not(name: str) -> None:
    own = name.startswith("CUSTOM_")
    assert is_trait(name) is own
    assert is_class(name) is own
