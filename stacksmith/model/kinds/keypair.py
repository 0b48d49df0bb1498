"""Keypairs: public keys that guests let in."""

from typing import Annotated

from pydantic import Field, StringConstraints

from stacksmith.model.spec import Spec


class KeypairSpec(Spec):
    """A public key; only ssh keys, only the public half."""

    # stripped first: a key file ends with a line break
    public_key: Annotated[str, StringConstraints(strip_whitespace=True)] = Field(
        pattern=r"^(ssh-|ecdsa-|sk-)[^\n]+$", description="One line as in authorized_keys"
    )
