"""Connections that are no session yet: how many may be under way, of one address and of all, and which has to go."""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)


def network_of(peer: object) -> str:
    """What counts as one address, of a socket's peer name: an IPv4 address, the /64 network of an IPv6 one.

    Whoever has one IPv6 address usually has the 2^64 addresses of its network. Empty where there is no address.
    """
    if not isinstance(peer, tuple) or not peer:
        return ""
    try:
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(address), 64), strict=False))
        address = address.ipv4_mapped
    return str(address)


class Handshakes(Generic[C]):
    """Keeps the newest connections where there are too many: who has something to say says it in milliseconds.

    Refusing new ones instead would let whoever opens connections and says nothing shut out all others.

    Args:
        of_one: connections under way from one address.
        of_all: connections under way from all addresses together.
    """

    def __init__(self, of_one: int, of_all: int) -> None:
        self.of_one, self.of_all = of_one, of_all
        self._under_way: dict[str, dict[C, None]] = {}  # by address, oldest first
        self._address: dict[C, str] = {}

    def __len__(self) -> int:
        return len(self._address)

    def begin(self, connection: C, address: str) -> C | None:
        """Count one more; gives the connection that has to be dropped for it, which is no longer counted.

        It is the oldest of the address where that has too many, else, where there are too many of all, the oldest of
        the address that has the most.
        """
        mine = self._under_way.setdefault(address, {})
        mine[connection] = None
        self._address[connection] = address
        if len(mine) <= self.of_one and len(self) <= self.of_all:
            return None
        most = mine if len(mine) > self.of_one else max(self._under_way.values(), key=len)
        oldest = next(iter(most))
        self.end(oldest)
        return oldest

    def end(self, connection: C) -> None:
        """It has become a session, or has ended. Nothing happens where it was not counted."""
        address = self._address.pop(connection, None)
        if address is not None:
            del self._under_way[address][connection]
            if not self._under_way[address]:
                del self._under_way[address]
