"""Which addresses are public: the others are where a server must not be sent."""

import socket
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcasting.server.webhooks.addresses import AddressRefused, check_public, is_public, resolve

PUBLIC = ["93.184.215.14", "8.8.8.8", "2606:4700::6810:84e5", "2a00:1450:4001::8"]
NOT_PUBLIC = {
    "unspecified": "0.0.0.0",
    "this network": "0.1.2.3",
    "loopback": "127.0.0.1",
    "all of loopback": "127.255.0.9",
    "private A": "10.0.0.1",
    "private B": "172.16.0.1",
    "private C": "192.168.1.1",
    "carrier-grade NAT": "100.64.0.1",
    "metadata of Alibaba": "100.100.100.200",
    "link-local, metadata": "169.254.169.254",
    "metadata of Azure": "168.63.129.16",
    "metadata of Oracle": "192.0.0.192",
    "documentation": "203.0.113.7",
    "benchmarks": "198.18.0.1",
    "multicast": "224.0.0.1",
    "multicast, global": "233.252.0.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "IPv6 unspecified": "::",
    "IPv6 loopback": "::1",
    "IPv6 unique local, metadata of AWS": "fd00:ec2::254",
    "IPv6 link-local": "fe80::1",
    "IPv6 link-local with a zone": "fe80::1%eth0",
    "IPv6 site-local": "fec0::1",
    "IPv6 multicast": "ff02::1",
    "IPv6 multicast, global": "ff0e::1",
    "IPv6 documentation": "2001:db8::1",
    "IPv6 documentation, newer": "3fff::1",
    "relays of 6to4": "192.88.99.1",
    "IPv6 discard": "100::1",
    "Teredo": "2001:0:7f00:1::1",
    "IPv4-mapped loopback": "::ffff:127.0.0.1",
    "IPv4-mapped metadata": "::ffff:a9fe:a9fe",
    "IPv4-compatible loopback": "::7f00:1",
    "NAT64 of loopback": "64:ff9b::7f00:1",
    "NAT64 of metadata": "64:ff9b::169.254.169.254",
    "NAT64 of a local prefix": "64:ff9b:1::808:808",
    "6to4 of a private address": "2002:a00:1::1",
    "6to4 of loopback": "2002:7f00:1::1",
    "no address": "localhost",
    "a number": "2130706433",
    "nothing": "",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    """Of either version."""
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC.values(), ids=NOT_PUBLIC)
def test_any_other_is_not(address: str) -> None:
    """Whatever way it is written in."""
    assert not is_public(address)


@pytest.mark.parametrize("form", ["::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"])
def test_a_wrapped_address_counts_as_what_it_wraps(form: str) -> None:
    """Some networks reach IPv4 by such addresses only."""
    assert is_public(form)


@given(st.ip_addresses(v=4))
def test_no_wrapping_makes_an_address_public(address: object) -> None:
    """Mapped and behind NAT64 it is as public as by itself."""
    plain = is_public(str(address))
    assert is_public(f"::ffff:{address}") == plain
    assert is_public(f"64:ff9b::{address}") == plain


def test_one_address_that_is_not_public_refuses_the_host() -> None:
    """Which of them a connection would take is not known."""
    with pytest.raises(AddressRefused, match=r"evil\.example has .* 10\.0\.0\.1") as caught:
        check_public("evil.example", ["8.8.8.8", "10.0.0.1"])
    assert (caught.value.host, caught.value.address) == ("evil.example", "10.0.0.1")
    check_public("good.example", PUBLIC)


class TestResolving:
    def test_each_address_comes_once(self) -> None:
        """In the order of the system's preference."""
        found = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2606:4700::1", 443, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 443)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 443)),
        ]
        with mock.patch("socket.getaddrinfo", return_value=found):
            assert resolve("host.example", 443) == ["2606:4700::1", "8.8.8.8"]

    @pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "017700000001"])
    def test_other_spellings_of_an_address_become_that_address(self, host: str) -> None:
        """The C library knows more of them than a check of the text could."""
        assert resolve(host, 80) == ["127.0.0.1"]
