"""Private libvirt hosts on one machine, to try and to test stacksmith with.

    from stacksmith import lab

    lab.capability()                       # mode "root", "rootless" or "none", and the reason
    there = lab.up("mylab", hosts=3)       # twice is once; dead hosts are booted; mylab/fleet.yaml, mylab/images
    there.hosts[0].uri                     # qemu+unix:///system?socket=/run/stacksmith-lab/1b2c3d4e/hv1/libvirt-sock
    lab.status("mylab")                    # a HostStatus for each host; never waits for a hung daemon
    lab.exec_in("mylab", "hv1", ["virsh", "list"])
    lab.crash("mylab", "hv1")              # power loss; lab.boot("mylab", "hv1") brings it back with its disks
    lab.freeze("mylab", "hv1")             # libvirtd hangs (whole=True: the host hangs); lab.thaw ends it
    lab.kill_daemon("mylab", "hv1")        # libvirtd dies, guests run on; lab.start_daemon("mylab", "hv1")
    lab.link("mylab", "hv1", up=False)     # pull the cable
    lab.down("mylab")                      # no process, interface, cgroup, mount or file of it is left

Hosts are named hv1, hv2, …. Every function raises LabError, whose text is for the user, and prints nothing; `up` and
`down` take a `progress` callback that is given lines. Only processes that the lab started are ever signalled.
"""

from stacksmith.lab.ability import Capability, capability
from stacksmith.lab.fault import (
    behave,
    boot,
    command_in,
    crash,
    daemon_pid,
    exec_in,
    freeze,
    kill_bmcs,
    kill_daemon,
    link,
    start_daemon,
    thaw,
)
from stacksmith.lab.lab import down, node_status, status, up
from stacksmith.lab.layout import Host, HostState, HostStatus, Lab, LabError, Node, NodeState, NodeStatus, Progress

__all__ = [
    "Capability",
    "Host",
    "HostState",
    "HostStatus",
    "Lab",
    "LabError",
    "Node",
    "NodeState",
    "NodeStatus",
    "Progress",
    "behave",
    "boot",
    "capability",
    "command_in",
    "crash",
    "daemon_pid",
    "down",
    "exec_in",
    "freeze",
    "kill_bmcs",
    "kill_daemon",
    "link",
    "node_status",
    "start_daemon",
    "status",
    "thaw",
    "up",
]
