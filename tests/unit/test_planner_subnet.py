"""Subnets that a host routes to a network which is not the stack's."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stacksmith.address import Address, identity
from stacksmith.diagnostics import Diagnostic, Faults, Severity
from stacksmith.engine import session
from stacksmith.model.change import Impact
from stacksmith.model.found import Found, Mark, Unmanaged
from stacksmith.model.naming import network_name
from stacksmith.model.realised import Network, Subnet
from stacksmith.planner.plan import Plan
from stacksmith.providers.libvirt import network_xml
from stacksmith.providers.libvirt.found import NetworkText, network
from stacksmith.providers.memory.provider import forget, world
from stacksmith.providers.memory.world import World

STACK = """\
stack: STACK
fleet: fleet.yaml
flavors: {f: {vcpus: 1, ram: 64, disk: 1}}
images: {i: {source: i.img, format: raw}}
networks:
  lan:
    mode: isolated
    subnets:
    - {cidr: "fd00:0:0::/64"}
    - {cidr: 10.1.0.0/24}
servers:
  a: {flavor: f, image: i, host: hv1, networks: [{network: lan}]}
"""
SUBNET = (10, 14)  # line and column of 10.1.0.0/24
HINT = "give it another subnet, or keep its servers off the host with host: or availability_zone:"


class Site:
    """Two hosts of the memory provider, on which stacks are planned and applied."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder, self.uri = folder, uri
        (folder / "i.img").write_bytes(b"x")
        hosts = "".join(f"  {name}: {{libvirt: '{uri}'}}\n" for name in ("hv1", "hv2"))
        (folder / "fleet.yaml").write_text(f"fleet: f\nstate: sqlite:///s.db\nhosts:\n{hosts}")
        self.write()

    @property
    def world(self) -> World:
        return world(self.uri)

    def add(self, name: str, *subnets: str, active: bool = True, host: str = "hv1") -> None:
        """A network that somebody made by hand."""
        self.world.add_unmanaged(host, "network", name, Network(subnets=tuple(map(Subnet, subnets)), active=active))

    def write(self, text: str = STACK, stack: str = "shop") -> None:
        (self.folder / "stack.yaml").write_text(text.replace("STACK", stack))

    def plan(self, **more: object) -> Plan:
        return session.plan(session.Options(stack=self.folder / "stack.yaml", **more)).plan  # type: ignore[arg-type]

    def apply(self) -> None:
        options = session.Options(stack=self.folder / "stack.yaml")
        report = session.apply(options, self.plan(), lambda event: None, session.ApplyOptions())
        assert report.exit_status == 0, report.failed

    def faults(self) -> tuple[Diagnostic, ...]:
        with pytest.raises(Faults) as caught:
            self.plan()
        return caught.value.diagnostics


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    made = Site(tmp_path, f"memory:{request.node.name}")
    yield made
    forget(made.uri)


def test_subnet_of_a_network_of_nobody_is_refused_at_its_place(site: Site) -> None:
    site.add("by-hand", "10.9.0.0/24", "10.1.0.0/24")
    (fault,) = site.faults()
    assert fault.code == "subnet-in-use" and fault.hint == HINT and str(fault.address) == "network.lan@hv1"
    assert fault.message == (
        "cannot make network.lan@hv1: 10.1.0.0/24 is in use by the network by-hand on hv1, which is no stack's"
    )
    assert fault.span is not None and (fault.span.line, fault.span.column) == SUBNET
    assert fault.span.file == str(site.folder / "stack.yaml") and fault.snippet == "    - {cidr: 10.1.0.0/24}"


def test_part_of_a_subnet_of_another_stack_is_refused_by_its_name(site: Site) -> None:
    site.apply()
    site.write(STACK.replace("10.1.0.0/24", "10.1.0.128/26"), stack="blog")
    four, six = site.faults()
    assert six.message == "cannot make network.lan@hv1: fd00::/64 is in use by the network shop-lan on hv1, of f/shop"
    assert (
        four.message
        == "cannot make network.lan@hv1: 10.1.0.128/26 overlaps 10.1.0.0/24 of the network shop-lan on hv1, of f/shop"
    )
    assert (six.span and six.span.line, four.span and four.span.line) == (9, 10)


def test_network_that_does_not_run_or_is_elsewhere_is_in_nobodys_way(site: Site) -> None:
    site.add("stopped", "10.1.0.0/24", active=False)
    site.add("elsewhere", "10.1.0.0/24", host="hv2")
    site.add("beside", "10.1.1.0/24")
    site.apply()
    assert site.plan().steps == ()


def test_network_that_is_there_stays_and_changes_beside_one_that_overlaps(site: Site) -> None:
    site.apply()
    site.add("later", "10.1.0.0/16")
    assert site.plan().steps == ()
    site.write(STACK.replace("mode: isolated", "mode: isolated\n    dns: [{ip: 10.1.0.9, names: [db]}]"))
    assert [step.id for step in site.plan().steps] == ["update network.lan@hv1"]


def test_subnet_that_a_network_gains_is_refused(site: Site) -> None:
    site.apply()
    site.add("later", "10.2.0.0/24")
    site.write(STACK.replace("10.1.0.0/24", "10.2.0.0/24"))
    (fault,) = site.faults()
    assert fault.code == "subnet-in-use" and "10.2.0.0/24 is in use by the network later" in fault.message


def test_network_that_is_left_out_or_removed_is_not_asked_about(site: Site) -> None:
    site.add("by-hand", "10.1.0.0/24")
    assert [step.id for step in site.plan(excludes=("network.lan",)).steps] == ["create image.i@hv1"]
    assert not site.plan(destroy=True).steps


@pytest.mark.parametrize("running", [True, False])
def test_networks_of_others_on_libvirt_tell_what_their_host_routes(running: bool) -> None:
    text = """<network><name>default</name><uuid>11111111-2222-5333-8444-555555555555</uuid><forward mode='nat'/>
      <bridge name='virbr0'/><ip address='192.168.122.1' netmask='255.255.255.0'/>
      <ip family='ipv6' address='fd00:7::1' prefix='64'/></network>"""
    found = network(NetworkText(text if running else None, text, False), "hv1")
    assert isinstance(found, Unmanaged)
    assert found.subnets == (("192.168.122.0/24", "fd00:7::/64") if running else ())


def test_marked_network_on_libvirt_is_found_with_what_its_host_routes() -> None:
    lan, spec = Address("network", "lan", host="hv1"), Network(subnets=(Subnet("10.1.0.0/24"),))
    text = network_xml.render(spec, Mark("f", "blog", lan, identity("f", "blog", lan), None))
    found = network(NetworkText(text, text, True), "hv1")
    assert isinstance(found, Found) and isinstance(found.spec, Network)
    assert (found.name, found.spec.routed) == (network_name("blog", lan), ("10.1.0.0/24",))


MOVED = STACK.replace("lan", "net2").replace("  a:", "  b:")


def test_subnet_goes_to_another_network_of_the_stack_once_the_first_is_gone(site: Site) -> None:
    site.apply()
    site.write(MOVED)
    plan = site.plan()
    ids = [step.id for step in plan.steps]
    assert ids == ["delete server.a", "delete network.lan@hv1", "create network.net2@hv1", "create server.b"]
    assert "delete network.lan@hv1" in plan.steps[2].requires
    report = session.apply(
        session.Options(stack=site.folder / "stack.yaml"),
        plan,
        lambda event: None,
        session.ApplyOptions(allowed=Impact.DATA_LOSS),
    )
    assert report.exit_status == 0 and site.plan().steps == ()


def test_subnet_of_a_network_that_gets_another_one_is_free_after_that(site: Site) -> None:
    site.apply()
    more = STACK.replace("10.1.0.0/24", "10.2.0.0/24").replace(
        "networks:\n", "networks:\n  more: {subnets: [{cidr: 10.1.0.0/25}]}\n"
    )
    site.write(more + "  b: {flavor: f, image: i, host: hv1, networks: [{network: more}]}\n")
    needs = {step.id: step.requires for step in site.plan().steps}
    assert needs["create network.more@hv1"] == ("update network.lan@hv1",)
    assert needs["update network.lan@hv1"] == ()


def test_network_renamed_under_its_servers_is_refused_with_what_to_do(site: Site) -> None:
    site.apply()
    site.write(STACK.replace("lan", "net2"))
    (fault,) = site.faults()
    assert fault.code == "circular-steps" and fault.hint is not None and "give it another subnet" in fault.hint
    assert (
        fault.message == "cannot order the steps: create network.net2@hv1, delete network.lan@hv1, update server.a"
        " wait for each other"
    )
    site.write(STACK.replace("lan", "net2").replace("10.1.0.0", "10.2.0.0").replace("fd00:0:0", "fd00:0:2"))
    site.apply()
    assert site.plan().steps == ()


def test_drift_tells_a_subnet_in_use_as_a_warning_and_the_drift_beside_it(site: Site) -> None:
    site.apply()
    site.add("by-hand", "10.1.0.0/24", host="hv2")
    site.write(STACK + "  b: {flavor: f, image: i, host: hv2, networks: [{network: lan}]}\n")
    site.world.edit("hv1", "server.a", lambda spec: replace(spec, vcpus=2))
    planned = session.drift(session.Options(stack=site.folder / "stack.yaml"))
    assert [(d.code, d.severity) for d in planned.unplanned] == [("subnet-in-use", Severity.WARNING)]
    assert [str(d.address) for d in planned.plan.deviations] == ["server.a"]
    assert not {"create network.lan@hv2", "create server.b"} & {step.id for step in planned.plan.steps}
