"""Which addresses are public: the others are where a server must not be sent."""

import socket
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcasting.server.webhooks.addresses import AddressRefused, check_public, is_public, resolve

PUBLIC = ["93.184.215.14", "8.8.8.8", "2606:4700::6810:84e5", "2a00:1450:4001::8"]
NOT_PUBLIC = [
    *("0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.0.9"),  # This network, loopback.
    *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),  # Private, carrier-grade NAT.
    # Metadata of Alibaba, AWS and others, Azure, Oracle.
    *("100.100.100.200", "169.254.169.254", "fd00:ec2::254", "168.63.129.16", "192.0.0.192"),
    *("203.0.113.7", "198.18.0.1", "2001:db8::1", "3fff::1"),  # Documentation, benchmarks.
    *("224.0.0.1", "233.252.0.1", "ff02::1", "ff0e::1"),  # Multicast.
    *("240.0.0.1", "255.255.255.255", "192.88.99.1"),  # Reserved, broadcast, relays of 6to4.
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "100::1"),
    # What leads to other addresses: Teredo, mapped, compatible, NAT64, 6to4.
    *("2001:0:7f00:1::1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::7f00:1"),
    *("64:ff9b::7f00:1", "64:ff9b::169.254.169.254", "64:ff9b:1::808:808"),
    *("2002:a00:1::1", "2002:7f00:1::1"),
    *("localhost", "2130706433", ""),
]
WRAPPED = ["::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [*((each, True) for each in [*PUBLIC, *WRAPPED]), *((each, False) for each in NOT_PUBLIC)],
)
def test_only_addresses_of_the_internet_are_public(address: str, expected: bool) -> None:
    """One that leads on to an IPv4 address counts as that one."""
    assert is_public(address) is expected


@given(st.ip_addresses(v=4))
def test_no_wrapping_makes_an_address_public(address: object) -> None:
    plain = is_public(str(address))
    assert is_public(f"::ffff:{address}") == plain
    assert is_public(f"64:ff9b::{address}") == plain


def test_one_address_that_is_not_public_refuses_the_host() -> None:
    with pytest.raises(AddressRefused, match=r"evil\.example has .* 10\.0\.0\.1") as caught:
        check_public("evil.example", ["8.8.8.8", "10.0.0.1"])
    assert (caught.value.host, caught.value.address) == ("evil.example", "10.0.0.1")
    check_public("good.example", PUBLIC)


def test_each_address_comes_once() -> None:
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2606:4700::1", 443, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 443)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 443)),
    ]
    with mock.patch("socket.getaddrinfo", return_value=found):
        assert resolve("host.example", 443) == ["2606:4700::1", "8.8.8.8"]


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "017700000001"])
def test_other_spellings_of_an_address_become_that_address(host: str) -> None:
    assert resolve(host, 80) == ["127.0.0.1"]
