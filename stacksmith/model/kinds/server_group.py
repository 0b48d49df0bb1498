"""Server groups: which servers must, or must not, share a host."""

from typing import Literal

from pydantic import Field

from stacksmith.model.spec import Spec


class ServerGroupSpec(Spec):
    """A server group, as Nova has it."""

    policy: Literal["affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"]
    max_server_per_host: int = Field(1, ge=1, description="Only with anti-affinity")
