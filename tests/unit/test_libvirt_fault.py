"""libvirt's words for what passes by itself, as libvirt 9.0 says them."""

import libvirt
import pytest

from stacksmith.providers.base import Busy, ProviderError, Refused, Transient
from stacksmith.providers.libvirt.connection import fault


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Requested operation is not valid: volume 'a' is still in use.", Busy),
        ("Requested operation is not valid: volume 'a' is still being allocated.", Busy),
        ("internal error: pool 'a' has asynchronous jobs running.", Busy),
        ("Requested operation is not valid: storage pool 'a' is starting up", Transient),
        ("Requested operation is not valid: storage pool 'a' is already active", Refused),
    ],
)
def test_fault_of_a_host_at_work_is_busy(words: str, kind: type[ProviderError]) -> None:
    error = libvirt.libvirtError("")
    error.err = (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_FROM_STORAGE, words, 2, "", None, None, -1, -1)
    assert type(fault(error)) is kind
    assert str(fault(error)) == words
