"""A lab host behind a counting proxy, and a stack of servers that are defined there and do not run."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.measure import ROOT, STACKSMITH, Cost, cost
from stacksmith import lab
from tests.tools.rpcproxy import RpcProxy

STACK = """
stack: bench
fleet: ../fleet.yaml
flavors: {{small: {{vcpus: 1, ram: 64, disk: 1}}}}
images: {{tiny: {{source: tiny.raw, format: raw}}}}
networks: {{lan: {{subnets: [{{cidr: 10.98.0.0/16}}]}}}}
servers:
  web:
    count: {count}
    flavor: small
    image: tiny
    networks: [{{network: lan}}]
    power_state: stopped
    autostart: false
    config_drive: false
"""


@dataclass(frozen=True, slots=True)
class Wire:
    """The way to a lab host: commands that use it are counted."""

    folder: Path
    proxy: RpcProxy

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.proxy.socket}"

    def want(self, count: int) -> None:
        """Writes the stack, with this many servers."""
        (self.folder / "stack" / "stack.yaml").write_text(STACK.format(count=count))

    def stacksmith(self, *words: str) -> Cost:
        """One command on the stack."""
        return self._counted(STACKSMITH, *words, str(self.folder / "stack"))

    def apply(self) -> Cost:
        """Makes the host as the stack says."""
        return self.stacksmith("apply", "--yes", "--allow", "data-loss")

    def raw(self, what: str, count: int = 0, threads: int = 1) -> Cost:
        """The same by hand; its seconds are without start-up and imports."""
        script = str(ROOT / "bench" / "raw.py")
        done = self._counted(sys.executable, script, what, self.uri, str(count), str(threads))
        return replace(done, wall_seconds=float(done.answer))

    def _counted(self, *argv: str) -> Cost:
        self.proxy.take()
        done = cost(argv)
        counts = self.proxy.take()
        return replace(done, calls=counts.calls, writes=counts.writes)


@dataclass(frozen=True, slots=True)
class Site:
    """A lab host and a folder beside it."""

    folder: Path
    socket: Path

    @contextmanager
    def wire(self, rtt_seconds: float) -> Iterator[Wire]:
        """The host over a wire of this length: the fleet file leads there."""
        with RpcProxy(self.socket, self.folder / "proxy", rtt_seconds) as proxy:
            wire = Wire(self.folder, proxy)
            text = (self.folder / "lab" / "fleet.yaml").read_text()
            text = text.replace(str(self.socket), str(proxy.socket)).replace("images/", "lab/images/")
            text = text.replace("VCPU: 16.0", "VCPU: 64.0")
            (self.folder / "fleet.yaml").write_text(text)
            yield wire


@contextmanager
def site() -> Iterator[Site]:
    """A lab of one host; nothing is left of it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="ssb-"))  # short: the path of a socket has 107 characters
    try:
        host = lab.up(folder / "lab", hosts=1).hosts[0]
        (folder / "stacksmith.root").touch()
        (folder / "stack").mkdir()
        (folder / "stack" / "tiny.raw").write_bytes(b"stacksmith bench" * 65536)
        yield Site(folder, Path(host.uri.partition("socket=")[2]))
    finally:
        lab.down(folder / "lab")
        shutil.rmtree(folder, ignore_errors=True)
