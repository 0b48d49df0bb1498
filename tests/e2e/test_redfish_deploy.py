"""Deployments to machines that never boot, over HTTPS: what is said when a BMC or node does not do its part, and what
is never said."""

import re
import threading
from typing import Any

import pytest
import requests

from stacksmith.model.deploy import DeploySpec
from stacksmith.model.node import Node
from stacksmith.providers.base import ProviderError, Refused, TimedOut
from stacksmith.providers.deployment import Cleaning, Job, Stage
from stacksmith.providers.redfish.deploy import Deployer
from tests.e2e.deploying import lab_cache
from tests.e2e.kit import until
from tests.e2e.light_parts import LightBmc, soon

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("light")]
BMCS = 6


class Run:
    """A cleaning of a node in a thread: it needs no image, and is a deployment otherwise."""

    def __init__(self, bmc: LightBmc, **settings: Any) -> None:
        self._bmc, self.said = bmc, list[str]()
        self._settings = DeploySpec(listen="127.0.0.1:0", **settings)
        self.fault: ProviderError | None = None
        self._thread = threading.Thread(target=self._clean)

    def __enter__(self) -> "Run":
        self._thread.start()
        return self

    def __exit__(self, *cause: object) -> None:
        self._thread.join()

    def _clean(self) -> None:
        name = self._bmc.node.name
        deployer = Deployer(self._settings, {name: Node.model_validate(self._bmc.fields)}, lab_cache())
        try:
            with self._bmc.session() as session:
                deployer.clean(session, Cleaning(name, "u-1"), self.said.append, soon(60))
        except ProviderError as fault:
            self.fault = fault
        finally:
            deployer.close()

    def url(self) -> str:
        """Where the ISO is, as the BMC was told."""
        until(lambda: self._drive()["Inserted"], 60, "the ISO is in")
        return str(self._drive()["Image"])

    def _drive(self) -> Any:
        return self._bmc.get("/VirtualMedia/Cd")


@pytest.mark.parametrize("method", ["http", "embedded"])
def test_bmc_that_never_asks_for_the_iso_is_told_from_a_node_that_is_silent(bmc: LightBmc, method: str) -> None:
    with Run(bmc, method=method, boot_timeout_seconds=1) as run:
        url = run.url()
    assert isinstance(run.fault, TimedOut)
    assert "nothing was heard of its ramdisk for 1 s; it is on, and its BMC never asked for the ISO" in str(run.fault)
    assert f"reach this machine at {url.rsplit('/', 2)[0]}: deploy.advertise_url" in str(run.fault.hint)
    assert bmc.get("/VirtualMedia/Cd")["Inserted"] is False and bmc.get()["PowerState"] == "On"


def test_node_that_got_its_iso_and_is_silent_has_a_console(bmc: LightBmc) -> None:
    with Run(bmc, boot_timeout_seconds=4) as run:
        url = run.url()
        assert requests.head(url, timeout=10).status_code == 200
    assert isinstance(run.fault, TimedOut) and str(run.fault).endswith("of its ramdisk for 4 s; it is on")
    assert "its console tells more" in str(run.fault.hint)
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.head(url, timeout=10)  # nothing is served once the run is over


def test_fault_of_a_call_that_took_long_is_waited_out_too(bmc: LightBmc) -> None:
    """The time that a BMC may be out of reach begins with the fault, not with the call that ends in it."""
    said: list[str] = []

    def heard(word: str) -> None:
        said.append(word)
        bmc.behave()

    name, settings = bmc.node.name, DeploySpec(bmc_timeout_seconds=1.2)
    deployer = Deployer(settings, {name: Node.model_validate(bmc.fields)}, lab_cache())
    bmc.behave(latency=0.5, drop_every=1)
    with bmc.session() as session:
        deployer.deploy(session, Job(name, "u-1"), heard, heard, Stage.READY, soon(60))
    assert said[0].startswith("reading, again: ") and said[-1] == "switching on"
    assert bmc.get()["PowerState"] == "On"


def test_iso_that_a_bmc_cannot_read_is_said_without_its_path(bmc: LightBmc) -> None:
    bmc.behave("says-again")
    with Run(bmc) as run:
        pass
    assert isinstance(run.fault, Refused)
    assert re.search(r"The resource at the URI http://127.0.0.1:\d+/….iso is in a format", str(run.fault))
    assert "must reach this machine at http://127.0.0.1:" in str(run.fault.hint)
    assert not re.search(r"/[A-Za-z0-9_-]{16}", f"{run.fault} {run.fault.hint} {run.said}".replace(bmc.node.system, ""))
