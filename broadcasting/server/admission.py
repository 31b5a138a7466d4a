"""How many sockets one process opens, in all and for one address."""

import sys
from collections import Counter
from functools import cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Literal

from django.core.signals import setting_changed
from django.dispatch import receiver

from ..conf import get_settings

# Files that are no client's socket: those of the process itself (listeners, databases, the
# bus, logs, what views open) and as many for HTTP requests when all sockets are taken.
RESERVED_FILES = 256
# HTTP connections beside all sockets, where there are files for them.
HTTP_CONNECTIONS = 1000
# More than any process needs, where a system says that it sets no limit.
_MANY_FILES = 1_048_576

Reason = Literal["address", "process"]


class Admission:
    """
    Counts the sockets that are open in this process.

    Whenever `admit` returns `None`, call `release` once, with the same address, when
    that socket has gone.

    Args:
        max_connections: Sockets in all, `None` for no limit. It may be changed.
        max_per_address: Sockets of one address, `None` for no limit.
    """

    def __init__(
        self, max_connections: int | None = None, max_per_address: int | None = None
    ) -> None:
        self.max_connections = max_connections
        self.count = 0
        self._max_per_address = max_per_address
        self._by_network: Counter[str] = Counter()

    def admit(self, address: str | None) -> Reason | None:
        """
        Count a socket of `address` in, or return the limit that it exceeds.

        A socket of an unknown address, such as that of a Unix socket, counts in all only.
        """
        if self.max_connections is not None and self.count >= self.max_connections:
            return "process"
        if self._max_per_address is not None and address:
            network = _network(address)
            if self._by_network[network] >= self._max_per_address:
                return "address"
            self._by_network[network] += 1
        self.count += 1
        return None

    def release(self, address: str | None) -> None:
        """Count out a socket of `address` that was admitted."""
        self.count -= 1
        if self._max_per_address is not None and address:
            network = _network(address)
            self._by_network[network] -= 1
            if self._by_network[network] <= 0:
                del self._by_network[network]


@cache
def get_admission() -> Admission:
    """Return the one of this process, with the limits of the settings."""
    server = get_settings().server
    return Admission(server.max_connections, server.max_connections_per_address)


def raise_file_limit() -> int | None:
    """
    Let this process open as many files as it may; return how many, `None` if unknown.

    Systems set the soft limit low for the sake of programs that use ``select``.
    """
    if sys.platform == "win32":  # It has no such limit.
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS calls its hard limit infinite and accepts less than a million.
    for wanted in [_MANY_FILES, 10_240] if hard == resource.RLIM_INFINITY else [hard]:
        if soft != resource.RLIM_INFINITY and soft < wanted:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            except (OSError, ValueError):
                continue
            return wanted
    return _MANY_FILES if soft == resource.RLIM_INFINITY else soft


def sockets_that_fit(files: int) -> int:
    """Return how many sockets a process has room for that may open so many `files`."""
    return files - min(RESERVED_FILES, files // 2)


def connections_that_fit(files: int | None, sockets: int | None) -> int | None:
    """Return how many connections of all kinds there may be beside files and `sockets`."""
    wanted = None if sockets is None else sockets + HTTP_CONNECTIONS
    if files is None:
        return wanted
    most = files - min(RESERVED_FILES, files // 2) // 2
    return most if wanted is None else min(wanted, most)


def _network(address: str) -> str:
    """Return what counts as one address: of IPv6, one client may have a whole /64."""
    try:
        parsed = ip_address(address) if ":" in address else None
    except ValueError:
        parsed = None
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((int(parsed) >> 64 << 64, 64)))


@receiver(setting_changed)
def _reset(*, setting: str, **kwargs: object) -> None:
    if setting == "BROADCASTING":
        get_admission.cache_clear()
