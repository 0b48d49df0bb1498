"""How images get on the disks of bare-metal nodes."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stacksmith.model.spec import Spec

Method = Literal["http", "embedded"]
URL_PATTERN = r"^http://[^/?&=#@\s]+$"


def _address(text: str) -> str:
    split_listen(text)
    return text


def split_listen(text: str) -> tuple[str, int]:
    """Address and port of ``ADDRESS:PORT``, ``[::]:0`` too. Raises: ValueError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be ADDRESS:PORT, as 0.0.0.0:8080; port 0 takes any free one")
    return host.strip("[]"), int(port)


class NodeDeploySpec(Spec):
    """What differs for one node; what is left out is as the fleet says."""

    advertise_url: str | None = Field(None, pattern=URL_PATTERN, description="As http://10.0.0.1:8080")
    method: Method | None = Field(None, description="http or embedded")
    boot_timeout_seconds: float | None = Field(None, gt=0, description="From power on to the first word of the node")
    silence_timeout_seconds: float | None = Field(None, gt=0, description="Longest time without a word after that")


class DeploySpec(Spec):
    """How images get on the disks of nodes: from a server that lives as long as the run."""

    listen: Annotated[str, AfterValidator(_address)] = Field(
        "0.0.0.0:0", description="ADDRESS:PORT of the server; port 0 takes any free one"
    )
    advertise_url: str | None = Field(
        None,
        pattern=URL_PATTERN,
        description="Where BMCs and nodes reach the server; default: the address this machine has towards the BMC",
    )
    method: Method = Field(
        "http",
        description="http: the node gets the image over its network card; embedded: it is on the virtual media, "
        "and the node needs no network",
    )
    boot_timeout_seconds: float = Field(900.0, gt=0, description="From power on to the first word of the node")
    silence_timeout_seconds: float = Field(300.0, gt=0, description="Longest time without a word after that")
    bmc_timeout_seconds: float = Field(300.0, gt=0, description="So long a BMC may be out of reach in between")
    boot_iso_seconds: float = Field(
        1800.0, ge=0, description="So long an ISO of boot_iso is served, unless the node switches itself off before"
    )

    def for_node(self, node: NodeDeploySpec | None) -> "DeploySpec":
        """The settings for a node that says some of them itself."""
        return self.model_copy(update=node.model_dump(exclude_none=True)) if node else self
