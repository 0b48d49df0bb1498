"""The name of one resource: ``server.web[0]``, ``server.db["eu"]``, ``network.lan@hv1``."""

import re
from functools import cache

from stacksmith.frozen import dataclass

NAMESPACE = bytes.fromhex("6f0e6c5e6d1b5c0e9d5b3b9f6c1f7a52")  # a UUID

_PATTERN = re.compile(
    r"(?P<kind>[a-z_]+)\.(?P<name>[A-Za-z0-9_.-]+?)"
    # Marks on hosts hold addresses, which are printed: no control characters.
    r'(?:\[(?:(?P<index>\d+)|"(?P<key>[^"\\\]\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+)")\])?'
    r"(?:@(?P<host>[A-Za-z0-9_.-]+))?"
)


class _Hashed:
    __slots__ = ("_hash",)
    _hash: int


@dataclass(frozen=True, slots=True)
class Address(_Hashed):
    """Names a resource of a stack; ``host`` is set for kinds realised once on every host that needs them."""

    kind: str
    name: str
    key: int | str | None = None
    host: str | None = None

    def __hash__(self) -> int:
        """Kept, as a plan of a large stack asks for it some seventy times."""
        try:
            return self._hash
        except AttributeError:
            object.__setattr__(self, "_hash", hash((self.kind, self.name, self.key, self.host)))
            return self._hash

    def __reduce__(self) -> tuple[type["Address"], tuple[str, str, int | str | None, str | None]]:
        return Address, (self.kind, self.name, self.key, self.host)  # another process has other hashes

    def __str__(self) -> str:
        key = "" if self.key is None else f"[{self.key}]" if isinstance(self.key, int) else f'["{self.key}"]'
        return f"{self.kind}.{self.name}{key}" + (f"@{self.host}" if self.host else "")

    def __lt__(self, other: "Address") -> bool:
        return self.order < other.order

    @property
    def order(self) -> tuple[str, str, int, int, str, str]:
        """Sort key: kind, name, then keys with numbers in numeric order, then host."""
        number = self.key if isinstance(self.key, int) else -1
        return (self.kind, self.name, number >= 0, number, str(self.key or ""), self.host or "")

    @property
    def block(self) -> "Address":
        """The address of the block in the stack file: without key and host."""
        return address_of(self.kind, self.name)

    @property
    def label(self) -> str:
        """The name and key as one word (``web-0``): what hostnames and native names are made of."""
        return self.name if self.key is None else f"{self.name}-{self.key}"

    @staticmethod
    def parse(text: str) -> "Address":
        """Reads what ``str()`` writes; of an equal text the same object. Raises: ValueError naming the text."""
        return _parse(text)


@cache
def _parse(text: str) -> Address:
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(f'cannot read address {text!r}: expected KIND.NAME, KIND.NAME[0] or KIND.NAME["key"]')
    kind, name, index, key, host = match.groups()
    return address_of(kind, name, int(index) if index is not None else key, host)


def address_of(kind: str, name: str, key: int | str | None = None, host: str | None = None) -> Address:
    """An address, of equal parts the same object: what is the same need not be compared, nor made again."""
    return _made(kind, name, key, host)


_made = cache(Address)


@cache
def identity(fleet: str, stack: str, address: Address, generation: int = 0) -> str:
    """The UUIDv5 of a resource: the same stack file always asks for the same object (rule 6).

    Source: RFC 9562 5.5, as ``uuid.uuid5`` does it in three times the time.
    """
    from hashlib import sha1  # it brings OpenSSL, which the help does not need

    digest = bytearray(sha1(NAMESPACE + f"{fleet}/{stack}/{address}/{generation}".encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
