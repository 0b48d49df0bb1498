"""Stack and fleet files to a stack."""

from pathlib import Path
from textwrap import dedent

import pytest

from stacksmith.address import Address
from stacksmith.diagnostics import Faults
from stacksmith.model.load import LoadOptions, evaluate_outputs, load_fleet, load_stack
from stacksmith.model.node import LostRef
from stacksmith.model.stack import Loaded, Stack

FLEET = "fleet: lab\nhosts:\n  hv1: {libvirt: 'memory://'}\n"
HEAD = "stack: shop\nfleet: fleet.yaml\n"
SERVER = """
flavors: {small: {vcpus: 1, ram: 512, disk: 4}}
images: {debian: {source: debian.qcow2}}
networks: {lan: {subnets: [{cidr: 10.20.0.0/24}]}}
"""


def write(folder: Path, **files: str) -> Path:
    for name, text in {"fleet": FLEET, **files}.items():
        path = folder / f"{name}.yaml"
        path.write_text(dedent(text))
    (folder / "debian.qcow2").write_bytes(b"image")
    return folder / "stack.yaml"


def load(folder: Path, stack: str, options: LoadOptions | None = None, **files: str) -> Loaded:
    return load_stack(write(folder, stack=stack, **files), options or LoadOptions())


def sound(loaded: Loaded) -> Stack:
    assert loaded.diagnostics == ()
    assert loaded.stack is not None
    return loaded.stack


def test_load_count_gives_numbered_addresses_and_index(tmp_path: Path) -> None:
    stack = sound(
        load(
            tmp_path,
            HEAD
            + SERVER
            + """
servers:
  web:
    count: 2
    flavor: small
    image: debian
    networks: [{network: lan, fixed_ip: "10.20.0.{{ 10 + index }}"}]
outputs: {ips: "{{ server.web | map(attribute='fixed_ip') | list }}"}
""",
        )
    )
    addresses = [a for a in stack.resources if a.kind == "server"]
    assert addresses == [Address("server", "web", 0), Address("server", "web", 1)]
    ips = [stack.resources[a].spec.networks[0].fixed_ip for a in addresses]  # type: ignore[union-attr]
    assert ips == ["10.20.0.10", "10.20.0.11"]
    assert str(stack.resources[addresses[1]].where(("flavor",))).endswith("stack.yaml:11:13")
    assert evaluate_outputs(stack, {"web": [{"fixed_ip": "a"}]}) == {"ips": ["a"]}
    assert evaluate_outputs(stack, {}) == {"ips": []}


def test_evaluate_outputs_unknown_server_raises_with_place(tmp_path: Path) -> None:
    stack = sound(load(tmp_path, HEAD + 'outputs: {ip: "{{ server.wbe }}"}\n'))
    with pytest.raises(Faults) as caught:
        evaluate_outputs(stack, {"web": {}})
    (fault,) = caught.value.diagnostics
    assert (fault.code, fault.hint, str(fault.span).rpartition("/")[2]) == (
        "bad-output",
        "did you mean 'web'?",
        "stack.yaml:3:15",
    )


def test_load_unknown_reference_says_what_is_meant(tmp_path: Path) -> None:
    loaded = load(tmp_path, HEAD + SERVER + "servers: {web: {flavor: smal, image: debian}}\n")
    (fault,) = loaded.diagnostics
    assert loaded.stack is None
    assert (fault.code, fault.hint) == ("unknown-reference", "did you mean 'small'?")
    assert fault.snippet == "servers: {web: {flavor: smal, image: debian}}"


def test_load_security_groups_are_not_supported_yet(tmp_path: Path) -> None:
    loaded = load(tmp_path, HEAD + "security_groups: {web: {}}\n")
    assert [d.code for d in loaded.diagnostics] == ["unknown-key"]
    assert "not supported yet" in loaded.diagnostics[0].message


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("monitor", "monitor"),
        ("{env: BMC_USER}", "drift"),
        ("{file: user}", "reader"),
        ("{env: NONE}", LostRef(env="NONE", cause="NONE is not set in the environment", hint="export NONE=…")),
    ],
)
def test_load_fleet_has_the_user_that_a_reference_leads_to(tmp_path: Path, reference: str, name: str | LostRef) -> None:
    """One that leads nowhere is no fault of the file: it is needed to sign in alone."""
    (tmp_path / "user").write_text("reader\n")
    node = f"{{redfish: 'https://bmc1.example', username: {reference}, password: {{env: NONE}}}}"
    write(tmp_path, fleet=f"fleet: lab\nnodes: {{bm1: {node}}}\n")
    fleet, diagnostics = load_fleet(tmp_path / "fleet.yaml", LoadOptions(environment={"BMC_USER": "drift"}))
    assert fleet is not None and diagnostics == ()
    assert fleet.nodes["bm1"].username == name


def test_load_fleet_memory_world_lies_beside_the_file(tmp_path: Path) -> None:
    write(tmp_path)
    fleet, diagnostics = load_fleet(tmp_path / "fleet.yaml", LoadOptions())
    assert diagnostics == ()
    assert fleet is not None
    assert fleet.hosts["hv1"].libvirt == f"memory://{tmp_path}/.stacksmith/lab.world.json"


def test_load_faults_of_instances_are_said_once_each(tmp_path: Path) -> None:
    servers = """
servers:
  web:
    count: 3
    flavor: small
    image: debian
    networks: [{network: lan, fixed_ip: "10.21.0.{{ 10 + index }}"}]
    block_device_mapping: [{boot_index: -1}]
"""
    loaded = load(tmp_path, HEAD + SERVER + servers)
    assert [(d.code, d.message) for d in loaded.diagnostics] == [
        ("missing-key", "cannot read server.web[0].block_device_mapping[0]: key 'destination_type' is missing"),
        ("missing-key", "cannot read server.web[0].block_device_mapping[0]: key 'source_type' is missing"),
    ]
    loaded = load(tmp_path, HEAD + SERVER + servers.replace("    block_device_mapping: [{boot_index: -1}]\n", ""))
    assert [d.message for d in loaded.diagnostics] == [
        "cannot use server.web[0].networks[0].fixed_ip: '10.21.0.10' is not in 10.20.0.0/24 of network.lan"
    ]


def test_load_more_faults_than_are_shown_says_so(tmp_path: Path) -> None:
    loaded = load(tmp_path, HEAD + "servers:\n" + "".join(f"  s{n}: {{x: 1}}\n" for n in range(600)))
    assert len(loaded.diagnostics) == 501
    assert loaded.diagnostics[-1].code == "too-many"


def test_load_restores_garbage_collection(tmp_path: Path) -> None:
    import gc

    load(tmp_path, HEAD)
    assert gc.isenabled()
    gc.disable()
    try:
        load(tmp_path, HEAD)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("path", ["nowhere.yaml", "."])
def test_load_path_without_a_stack_is_an_error(path: str, tmp_path: Path) -> None:
    loaded = load_stack(tmp_path / path, LoadOptions())
    assert [d.code for d in loaded.diagnostics] == ["file-missing"]


def test_load_provider_memory_takes_the_hosts_names_only(tmp_path: Path) -> None:
    fleet = "fleet: lab\nhosts:\n  hv1: {libvirt: 'qemu:///system'}\n  hv2: {libvirt: 'memory:test?vcpus=4'}\n"
    stack = sound(load(tmp_path / "", HEAD, LoadOptions(provider="memory"), fleet=fleet))
    assert [host.libvirt for host in stack.fleet.hosts.values()] == [
        f"memory://{tmp_path}/.stacksmith/lab.world.json",
        "memory:test?vcpus=4",
    ]


def test_load_sensitive_value_is_in_no_message_or_snippet(tmp_path: Path) -> None:
    stack = (
        HEAD
        + SERVER
        + """
variables: {token: {sensitive: true, default: s3cret-word}}
servers: {web: {flavor: "{{ var.token }}", image: s3cret-word}}
"""
    )
    loaded = load(tmp_path, stack)
    assert [d.code for d in loaded.diagnostics] == ["sensitive", "unknown-reference", "unknown-reference"]
    assert "s3cret" not in repr([(d.message, d.hint, d.snippet) for d in loaded.diagnostics])


def test_load_command_that_hangs_or_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command, seconds, cause in (
        ("[/bin/sleep, '300']", 0.2, "took longer than 0.2 seconds"),
        ("[/bin/sh, -c, 'echo why >&2; exit 3']", 60.0, "ended with 3: why"),
        ("[/bin/none]", 60.0, "No such file"),
        ("[/bin/sh, -c, 'printf \"\\377\"']", 60.0, "not UTF-8"),
    ):
        monkeypatch.setattr("stacksmith.model.user_data.COMMAND_SECONDS", seconds)
        servers = f"servers: {{web: {{flavor: small, image: debian, user_data: {{command: {command}}}}}}}\n"
        loaded = load(tmp_path, HEAD + SERVER + servers, LoadOptions(allow_commands=True))
        (fault,) = loaded.diagnostics
        assert cause in fault.message


def test_load_command_sees_only_the_given_environment(tmp_path: Path) -> None:
    servers = "servers: {web: {flavor: small, image: debian, user_data: {command: [/usr/bin/env]}}}\n"
    options = LoadOptions(allow_commands=True, environment={"ONLY": "this"})
    stack = sound(load(tmp_path, HEAD + SERVER + servers, options))
    assert stack.resources[Address("server", "web")].user_data == "ONLY=this\n"


def test_load_unreadable_folder_link_loop_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    loaded = load(tmp_path, HEAD + "images: {a: {source: loop}}\n")
    assert [d.code for d in loaded.diagnostics] == ["file-unreadable"]


def test_load_path_through_a_link_and_back_is_the_real_one(tmp_path: Path) -> None:
    inside = tmp_path / "top" / "a" / "b"
    inside.mkdir(parents=True)
    (tmp_path / "top" / "stacksmith.root").touch()
    (tmp_path / "top" / "stack").mkdir()
    (tmp_path / "top" / "stack" / "link").symlink_to(inside)
    (tmp_path / "top" / "secret.yaml").write_text("fleet: outside\nhosts: {}\n")
    write(tmp_path / "top" / "a")
    write(tmp_path / "top" / "stack", stack="stack: shop\nfleet: link/../fleet.yaml\n", fleet="fleet: Wrong\n")
    stack = sound(load_stack(tmp_path / "top" / "stack" / "stack.yaml", LoadOptions()))
    assert stack.fleet_path == tmp_path / "top" / "a" / "fleet.yaml"
