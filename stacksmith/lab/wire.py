"""The lab's ways in over the network: TLS certificates and ssh keys of its own, made at the first `up`.

Plain TCP is not offered: libvirtd runs as root, and the hosts' addresses are open to every user of the machine.
"""

import shlex
import shutil
from pathlib import Path
from urllib.parse import quote

from stacksmith.lab import draft, process
from stacksmith.lab.layout import Layout, address_of, host_names

DAYS = 3650
SSHD = Path("/usr/sbin/sshd")
HOST_PKI, HOST_SSH = "/etc/libvirt/pki", "/etc/libvirt/ssh"  # where a host sees its own
SSHD_CONFIG = f"""HostKey {HOST_SSH}/host_key
AuthorizedKeysFile {HOST_SSH}/authorized_keys
PasswordAuthentication no
UsePAM no
StrictModes no
PermitRootLogin yes
PidFile none
"""


def has_tls() -> bool:
    """Whether certificates can be made."""
    return shutil.which("certtool", path=process.PATH) is not None


def has_ssh(layout: Layout) -> bool:
    """Whether the hosts run sshd; without root it lets nobody in."""
    return layout.uid == 0 and SSHD.exists() and shutil.which("ssh-keygen", path=process.PATH) is not None


def tls_uri(layout: Layout, host: str, subnet: str) -> str:
    """The host's address over TLS, for the caller; empty where there is none. Without root there is no wire to it."""
    if layout.uid != 0 or not (layout.private / "pki" / f"{host}.pem").exists():
        return ""
    return f"qemu+tls://{address_of(subnet, host)}/system?pkipath={quote(str(layout.private / 'pki' / 'client'))}"


def ssh_uri(layout: Layout, host: str, subnet: str) -> str:
    """The host's address over ssh, for the caller; empty where there is none."""
    if not (layout.private / "ssh" / "ssh").exists():
        return ""
    return f"qemu+ssh://root@{address_of(subnet, host)}/system?command={quote(str(layout.private / 'ssh' / 'ssh'))}"


def equip(layout: Layout, host: str, subnet: str) -> None:
    """Make what is missing of the keys and certificates, and give the host its own."""
    if has_tls():
        _give_certificates(layout, host, subnet)
    if has_ssh(layout):
        _give_ssh(layout, host, subnet)


def _authority(layout: Layout) -> Path:
    """The folder with the lab's certificate authority and the client's certificate.

    One RSA key serves all, to save time; libvirt 9 refuses elliptic curves ("usage does not permit key encipherment").
    """
    whole = layout.private / "pki"
    if whole.is_dir():
        return whole
    with draft.folder(whole) as pki:
        client, key = pki / "client", pki / "key.pem"
        client.mkdir()
        process.run(["certtool", "-q", "--generate-privkey", "--key-type", "rsa", "--bits", "2048", f"--outfile={key}"])
        template = _template(pki / "ca.cfg", f"stacksmith lab {layout.id}", ["ca", "cert_signing_key"])
        load = ["--load-privkey", str(key), "--template", str(template), "--outfile", str(pki / "ca.pem")]
        process.run(["certtool", "-q", "--generate-self-signed", *load])
        shutil.copyfile(pki / "ca.pem", client / "cacert.pem")
        shutil.copyfile(key, client / "clientkey.pem")
        _sign(pki, client / "clientcert.pem", "stacksmith", ["tls_www_client"])
    return whole


def _sign(pki: Path, target: Path, name: str, lines: list[str]) -> None:
    own = draft.draft_of(target)
    template = _template(own.with_suffix(".cfg"), name, [*lines, "encryption_key", "signing_key"])
    key, authority = str(pki / "key.pem"), str(pki / "ca.pem")
    signer = ["--load-ca-privkey", key, "--load-ca-certificate", authority]
    argv = ["certtool", "-q", "--generate-certificate", *signer, "--load-privkey", key, "--template", str(template)]
    process.run([*argv, "--outfile", str(own)])
    own.replace(target)


def _template(path: Path, name: str, lines: list[str]) -> Path:
    path.write_text("\n".join([f'cn = "{name}"', f"expiration_days = {DAYS}", *lines]) + "\n")
    return path


def _give_certificates(layout: Layout, host: str, subnet: str) -> None:
    own = layout.home(host) / "etc" / "pki"
    if own.is_dir():
        return
    pki = _authority(layout)
    address = address_of(subnet, host)
    names = [f'dns_name = "{host}"', f'ip_address = "{address}"', "tls_www_server", "tls_www_client"]
    _sign(pki, pki / f"{host}.pem", host, names)
    certificate, key, authority = pki / f"{host}.pem", pki / "key.pem", pki / "ca.pem"
    with draft.folder(own) as whole:
        for source, targets in (
            (authority, ("cacert.pem", "ca-cert.pem")),
            (certificate, ("servercert.pem", "clientcert.pem", "server-cert.pem", "client-cert.pem")),
            (key, ("serverkey.pem", "clientkey.pem", "server-key.pem", "client-key.pem")),
        ):
            for target in targets:
                shutil.copyfile(source, whole / target)


def _give_ssh(layout: Layout, host: str, subnet: str) -> None:
    own = layout.home(host) / "etc" / "ssh"
    if own.is_dir():
        return
    keys = _ssh_keys(layout, subnet)
    with draft.folder(own) as whole:
        for source, target in (("host_key", "host_key"), ("id.pub", "authorized_keys"), ("id", "id")):
            shutil.copyfile(keys / source, whole / target)
            (whole / target).chmod(0o600)
        (whole / "sshd_config").write_text(SSHD_CONFIG)
        (whole / "known_hosts").write_text((keys / "known_hosts").read_text())


def _ssh_keys(layout: Layout, subnet: str) -> Path:
    """The folder with the hosts' common key, the caller's key, and `ssh`, a command that uses them."""
    keys = layout.private / "ssh"
    if keys.is_dir():
        return keys
    options = ["-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]
    options += ["-o", f"UserKnownHostsFile={keys / 'known_hosts'}", "-i", str(keys / "id")]
    with draft.folder(keys) as whole:
        for name in ("host_key", "id"):
            process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(whole / name)])
        kind, key = (whole / "host_key.pub").read_text().split()[:2]
        rows = [f"{name},{address_of(subnet, name)} {kind} {key}\n" for name in host_names(200)]
        (whole / "known_hosts").write_text("".join(rows))
        command = whole / "ssh"
        command.write_text(f'#!/bin/sh\nexec ssh {shlex.join(options)} "$@"\n')
        command.chmod(0o700)
    return keys


def libvirtd_lines() -> list[str]:
    """What libvirtd.conf must say; TLS asks every client for a certificate of the lab's authority."""
    if not has_tls():
        return ["listen_tls = 0"]
    files = {"ca_file": "cacert.pem", "cert_file": "servercert.pem", "key_file": "serverkey.pem"}
    return ["listen_tls = 1", 'auth_tls = "none"', *(f'{key} = "{HOST_PKI}/{name}"' for key, name in files.items())]


def qemu_lines() -> list[str]:
    """What qemu.conf must say, so that guests can migrate over TLS."""
    return [f'default_tls_x509_cert_dir = "{HOST_PKI}"', "default_tls_x509_verify = 1"] if has_tls() else []


def commands(layout: Layout) -> list[list[str]]:
    """What a host runs at its boot to let ssh in."""
    if not has_ssh(layout):
        return []
    return [["mkdir", "-p", "/run/sshd"], [str(SSHD), "-f", f"{HOST_SSH}/sshd_config"]]
