"""BMCs on loopback with machines of pages alone, and the real provider that asks them."""

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml

from stacksmith import lab
from stacksmith.engine.retry import retried
from stacksmith.model.node import Node
from stacksmith.providers.base import Deadline, Transient
from stacksmith.providers.bmc import BmcSession
from stacksmith.providers.registry import open_bmc
from tests.e2e.bmc_parts import Bmc

T = TypeVar("T")


class Killed(BaseException):
    """The end of a run in the middle of a call."""


class LightBmc(Bmc):
    """One of the BMCs, as a user of it sees it, and with the provider's session."""

    def __init__(self, folder: Path, name: str, fields: dict[str, Any]) -> None:
        self.folder, self.fields = folder, fields
        place = folder / fields["password"]["file"], folder / fields["ca"], folder / "none"
        super().__init__(folder, lab.Node(name, fields["redfish"], fields["system"], fields["username"], *place))

    @property
    def handed_out(self) -> Path:
        return self.folder / f"{self.node.name}.tokens"

    @property
    def log(self) -> Path:
        return self.folder / "bmc.log"

    def behave(self, *profiles: str, **more: float) -> None:
        path = self.folder / "behaviours.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(known | {self.node.name: {"profiles": list(profiles), "more": more}}))
        draft.replace(path)

    @contextmanager
    def session(self, **changed: Any) -> Iterator[BmcSession]:
        """The provider's session with this BMC; values of the node may be given."""
        password = changed.pop("password", self.password)
        folder = changed.pop("sessions", None)
        node = Node.model_validate({**self.fields, **changed})
        session = open_bmc(self.node.name, node, password, str(self.node.ca), folder)
        try:
            yield session
        finally:
            session.close()


def soon(seconds: float = 30.0) -> Deadline:
    return Deadline(time.monotonic() + seconds, time.monotonic)


def soon_after(is_so: Callable[[], object], seconds: float = 0.0) -> Deadline:
    """A time limit that comes so long after something is so, and is far until then, however slow this machine is."""
    at, jump = time.monotonic() + 600, list[float]()

    def clock() -> float:
        now = time.monotonic()
        if not jump and is_so():
            jump.append(at - seconds - now)
        return now + max(jump, default=0.0)

    return Deadline(at, clock)


def patiently(call: Callable[[], T], seconds: float = 30.0) -> T:
    """What ``call`` returns, tried again as the engine does."""
    return retried(call, soon(seconds), threading.Event(), lambda cause, attempt, wait: None)


def bad_line(bmc: LightBmc, fault: str, number: int, *profiles: str) -> Callable[[Callable[[], T]], T]:
    """Calls over a line on which every so many requests meet a fault. After a call that failed one more passes: else
    each try might meet it at the same request."""
    numbers = itertools.count(number)
    bmc.behave(*profiles, **{fault: next(numbers)})

    def called(call: Callable[[], T]) -> T:
        try:
            return call()
        except Transient:
            bmc.behave(*profiles, **{fault: next(numbers)})
            raise

    return called


@contextmanager
def light_farm(folder: Path, count: int) -> Iterator[list[LightBmc]]:
    """So many BMCs, as long as the block lasts."""
    argv: Sequence[str] = (sys.executable, "-m", "stacksmith.lab.bmc.light_farm", str(folder), str(count))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as farm:
        try:
            assert farm.stdout is not None and farm.stdout.readline() == "ready\n"
            nodes = yaml.safe_load((folder / "fleet.yaml").read_text())["nodes"]
            yield [LightBmc(folder, name, fields) for name, fields in nodes.items()]
        finally:
            farm.kill()
