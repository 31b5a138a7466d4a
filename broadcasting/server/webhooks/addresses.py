"""
The addresses that webhooks may be sent to: those of the public Internet.

The addresses that a URL's host has at the moment of the request are checked, and the
connection goes to one of them. A name whose addresses change in between gains nothing.
"""

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Resolve = Callable[[str, int], list[str]]

# What `ipaddress` calls global depends on Python's patch release; IPv6 addresses must
# therefore be in the one block that is assigned to the Internet (RFC 4291, section 2.4).
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address.
_DOCUMENTATION = IPv6Network("3fff::/20")  # RFC 9637, which Python does not know yet.
# Some or all of Python's releases take these for public addresses.
_SPECIAL = (
    IPv4Network("192.0.0.0/24"),  # Protocol assignments (RFC 6890); metadata of Oracle's cloud.
    IPv4Network("192.88.99.0/24"),  # Relays that are no more (RFC 7526).
    IPv4Network("168.63.129.16/32"),  # Where Azure's virtual machines reach their host.
)


class AddressRefused(Exception):
    """
    Raised when a host has an address that is not public.

    Attributes:
        host: The name that was resolved.
        address: The first of its addresses that is not public.
    """

    def __init__(self, host: str, address: str) -> None:
        super().__init__(host, address)
        self.host = host
        self.address = address

    def __str__(self) -> str:
        return f"{self.host} has the address {self.address}, which is not public"


def resolve(host: str, port: int) -> list[str]:
    """
    Return the addresses of `host`, in the order in which to try them.

    Raises:
        OSError: It has none, or no name server answers.
        UnicodeError: It is not a name that DNS could know.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def check_public(host: str, addresses: list[str]) -> None:
    """Raise `AddressRefused` unless every one of the `addresses` of `host` is public."""
    for address in addresses:
        if not is_public(address):
            raise AddressRefused(host, address)


def is_public(address: str) -> bool:
    """
    Return whether `address` belongs to the public Internet.

    An address that leads on to an IPv4 address (mapped, NAT64, 6to4) counts as that one.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        inner = _inside(parsed)
        if inner is None:
            return parsed in _GLOBAL_UNICAST and parsed.is_global and parsed not in _DOCUMENTATION
        parsed = inner
    if any(parsed in network for network in _SPECIAL):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def _inside(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that `address` leads to, `None` if it leads to none."""
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour
