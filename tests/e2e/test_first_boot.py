"""Real guests, judged by what they print on their serial consoles at the first boot."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stacksmith.address import Address, identity
from stacksmith.engine import session
from stacksmith.model.naming import mac_address
from stacksmith.providers.libvirt import reading
from tests.e2e.kit import Site, changes, until

pytestmark = [pytest.mark.e2e, pytest.mark.takes(30), pytest.mark.xdist_group("lab")]

NAME = "firstboot"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKmAm9fFk0cSAUVz9o1LPm2IV9Xw1Y5cVbDWRnS5zE0U ops@example"
CLOUD_CONFIG = "#cloud-config\nhostname: cloud-tools\n"
LEASED = "until [ -e /run/lease.eth0 ]; do sleep 0.1; done"  # a guest does not wait for a slow lease for long
# web: OpenStack's config drive; db: NoCloud; tools: a disk image. The address of each: leased by the network's
# reservation (lan), set by the guest (back, without DHCP), leased from the pool (tools).
STACK = f"""\
  guest: {{vcpus: 1, ram: 128, max_vcpus: 2, max_ram: 192}}
  disk: {{vcpus: 1, ram: 128, disk: 1}}
keypairs:
  ops: {{public_key: {KEY}}}
networks:
  lan:
    subnets: [{{cidr: 10.41.0.0/24, allocation_pools: [{{start: 10.41.0.100, end: 10.41.0.199}}]}}]
    dns_domain: firstboot.test
    dns: [{{ip: 10.41.0.20, names: [database.firstboot.test]}}]
  back: {{mode: isolated, subnets: [{{cidr: 10.42.0.0/20, enable_dhcp: false}}]}}
servers:
  web:
    count: 2
    flavor: guest
    image: lab
    keypair: ops
    networks:
      - {{network: lan, fixed_ip: "10.41.0.{{{{ 10 + index }}}}"}}
      - {{network: back, fixed_ip: "10.42.1.{{{{ 10 + index }}}}"}}
    metadata: {{role: web, place: "{{{{ index }}}} of 2", awkward: 'say "hi" \\ größe 😀'}}
    user_data: |
      #!/bin/sh
      {LEASED}
      echo "told-web-{{{{ index }}}} $(hostname) $(ip route | awk '/^default/ {{print $3, $5}}')"
      for name in database.firstboot.test nobody.firstboot.test; do
        echo "resolved $name: $(nslookup -type=a $name 2>&1 | awk '/^Name:/ {{n = 1}} n && /^Address/ {{print $NF}}')"
      done
      exit {{{{ 3 + index }}}}
  db:
    flavor: guest
    image: lab
    config_drive: nocloud
    networks:
      - {{network: lan, fixed_ip: 10.41.0.20}}
      - {{network: back, fixed_ip: 10.42.1.20}}
    metadata: {{role: database, awkward: 'it''s: #no 漢字 😀'}}
    user_data: |
      #!/bin/sh
      {LEASED}
      echo "told-db $(hostname) $(ip route | awk '/^default/ {{print $3, $5}}')"
  tools:
    flavor: disk
    image: lab-disk
    networks: [{{network: lan}}]
    metadata: {{role: toolbox}}
    user_data: "{CLOUD_CONFIG.replace(chr(10), chr(92) + "n")}"
"""
SERVERS = {
    "web-0": Address("server", "web", 0),
    "web-1": Address("server", "web", 1),
    "db": Address("server", "db"),
    "tools": Address("server", "tools"),
}
# What is only this server's, besides its name: none of it may be in another's log.
OWN = {
    "web-0": ["10.41.0.10/", "10.42.1.10/", "told-web-0", "0 of 2"],
    "web-1": ["10.41.0.11/", "10.42.1.11/", "told-web-1", "1 of 2"],
    "db": ["10.41.0.20/", "10.42.1.20/", "told-db", "role=database"],
    "tools": ["role=toolbox", hashlib.sha256(CLOUD_CONFIG.encode()).hexdigest()],
}


@pytest.fixture(scope="module")
def site(lab_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The stack, applied, and every server booted."""
    site = Site(NAME, tmp_path_factory.mktemp(NAME), lab_dir / "fleet.yaml", lab_dir)
    site.write(STACK)
    try:
        site.apply()
        for name in SERVERS:
            until(lambda name=name: is_ready(site.console(name)), 300, f"{name} is ready, with addresses")  # type: ignore[misc]
        yield site
    finally:
        site.write("servers: {}")
        site.destroy()


def is_ready(log: str) -> bool:
    """Whether it has booted, and has an address, which a guest without user data may get later."""
    return all(re.search(f"STACKSMITH-{word} .*\n", log) for word in ("READY", "ADDRESS"))


@pytest.fixture(scope="module")
def logs(site: Site) -> dict[str, str]:
    """The serial log of each server, by its name."""
    return {name: site.console(name).replace("\r", "") for name in SERVERS}


def said(log: str, word: str) -> list[str]:
    """What follows STACKSMITH-``word`` on the log's lines."""
    return re.findall(rf"^STACKSMITH-{word} (.*)$", log, re.MULTILINE)


def mac(name: str, network: str) -> str:
    return mac_address(identity("lab", NAME, SERVERS[name]), network)


@pytest.mark.parametrize("name", SERVERS)
def test_guest_takes_its_own_name_and_format(logs: dict[str, str], name: str) -> None:
    assert said(logs[name], "HOSTNAME") == [name]
    assert said(logs[name], "FORMAT") == ["nocloud" if name == "db" else "configdrive"]


@pytest.mark.parametrize(("name", "last"), [("web-0", 10), ("web-1", 11), ("db", 20)])
def test_guest_has_its_fixed_addresses_leased_and_static(logs: dict[str, str], name: str, last: int) -> None:
    expected = {f"eth0 {mac(name, 'lan')} 10.41.0.{last}/24", f"eth1 {mac(name, 'back')} 10.42.1.{last}/20"}
    assert set(said(logs[name], "ADDRESS")) == expected


@pytest.mark.parametrize("name", ["web-0", "web-1"])
def test_guest_resolves_the_dns_name_of_another_server_by_its_network(logs: dict[str, str], name: str) -> None:
    resolved = re.findall("^resolved (.*)$", logs[name], re.MULTILINE)
    assert resolved == ["database.firstboot.test: 10.41.0.20", "nobody.firstboot.test: "]


def test_guest_without_a_fixed_address_leases_one_of_the_pool(logs: dict[str, str]) -> None:
    (address,) = said(logs["tools"], "ADDRESS")
    nic, leased, ip = address.split()
    assert (nic, leased) == ("eth0", mac("tools", "lan"))
    assert re.fullmatch(r"10\.41\.0\.1\d\d/24", ip)


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("web-0", ["role=web", "place=0 of 2", 'awkward=say "hi" \\ größe 😀']),
        ("web-1", ["role=web", "place=1 of 2", 'awkward=say "hi" \\ größe 😀']),
        ("db", ["role=database", "awkward=it's: #no 漢字 😀"]),
        ("tools", ["role=toolbox"]),
    ],
)
def test_guest_reads_its_own_metadata(logs: dict[str, str], name: str, metadata: list[str]) -> None:
    assert said(logs[name], "META") == metadata


@pytest.mark.parametrize("name", SERVERS)
def test_guest_gets_the_key_of_its_keypair_alone(logs: dict[str, str], name: str) -> None:
    assert said(logs[name], "KEY") == ([KEY] if name.startswith("web") else [])


@pytest.mark.parametrize(("name", "status"), [("web-0", 3), ("web-1", 4), ("db", 0)])
def test_guest_runs_its_own_script_and_routes_by_the_network_that_leads_out(
    logs: dict[str, str], name: str, status: int
) -> None:
    assert re.findall("^told-.*", logs[name], re.MULTILINE) == [f"told-{name} {name} 10.41.0.1 eth0"]
    assert said(logs[name], "USERDATA") == [f"rc={status}"]


def test_guest_from_a_disk_image_gets_its_cloud_config(logs: dict[str, str]) -> None:
    assert said(logs["tools"], "USERDATA") == [f"cloud-config {hashlib.sha256(CLOUD_CONFIG.encode()).hexdigest()}"]
    assert re.search(rf"^STACKSMITH-DISK vda {1 << 30} ", logs["tools"], re.MULTILINE)


@pytest.mark.parametrize("name", SERVERS)
def test_guest_sees_nothing_of_another_server(logs: dict[str, str], name: str) -> None:
    assert [mark for mark in OWN[name] if mark not in logs[name]] == []
    others = [mark for other in SERVERS if other != name for mark in (*OWN[other], f"HOSTNAME {other}")]
    assert [mark for mark in others if mark in logs[name]] == []


def test_memory_and_vcpus_raised_by_hand_are_drift_and_memory_is_given_back_live(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host,) = {record.host for record in session.records(site.options()) if record.address == SERVERS["db"]}
    assert not site.plan().steps  # a guest that has just started may have all of max_ram
    monkeypatch.setattr(reading, "BALLOON_SECONDS", 0)
    until(lambda: not site.plan().steps, 300, "the guest gives back what it got at its start")
    site.virsh(host, "setmem", f"{NAME}-db", "160M", "--live")
    until(lambda: changes(site.plan(), "server.db") == {"ram_mib": (160, 128, "drift")}, 300, "160 MiB is seen")
    site.apply()
    until(lambda: not site.plan().steps, 300, "the guest has 128 MiB again")
    site.virsh(host, "setvcpus", f"{NAME}-db", "2", "--live")
    assert changes(site.plan(), "server.db") == {"vcpus": (2, 1, "drift")}
