"""Capabilities as libvirt writes them, in nova's words."""

from stacksmith.model.found import Hypervisor
from stacksmith.providers.libvirt.hypervisor import hypervisor

CAPABILITIES = """
<capabilities>
  <host>
    <uuid>0f92326e-c51a-5107-afef-83af841cd529</uuid>
    <cpu>
      <arch>x86_64</arch><model>EPYC-Rome</model><vendor>AMD</vendor>
      <topology sockets='1' dies='1' cores='4' threads='2'/>
      <feature name='vme'/><feature name='ht'/>
    </cpu>
  </host>
  <guest>
    <os_type>hvm</os_type>
    <arch name='i686'><domain type='qemu'/><domain type='kvm'/></arch>
  </guest>
  <guest>
    <os_type>hvm</os_type>
    <arch name='x86_64'><domain type='qemu'/><domain type='kvm'/></arch>
  </guest>
</capabilities>
"""


def test_hypervisor_of_capabilities_has_cpu_and_every_guest() -> None:
    assert hypervisor(CAPABILITIES, ("QEMU", 8_002_002, "hv1.example")) == Hypervisor(
        "QEMU",
        8_002_002,
        "hv1.example",
        {
            "arch": "x86_64",
            "model": "EPYC-Rome",
            "vendor": "AMD",
            "topology": {"sockets": 1, "cores": 4, "threads": 2, "cells": 1},
            "features": ["ht", "vme"],
        },
        (("i686", "kvm", "hvm"), ("i686", "qemu", "hvm"), ("x86_64", "kvm", "hvm"), ("x86_64", "qemu", "hvm")),
        "0f92326e-c51a-5107-afef-83af841cd529",
    )


def test_hypervisor_of_sparse_capabilities_has_what_is_there() -> None:
    sparse = "<capabilities><host><cpu><arch>aarch64</arch></cpu></host></capabilities>"
    assert hypervisor(sparse, ("QEMU", 1, "h")).cpu == {"arch": "aarch64", "features": []}
