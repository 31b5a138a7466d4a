"""How many sockets one process opens."""

import resource
import subprocess
import sys

import pytest
from pytest_django import Settings

from broadcasting.server.admission import (
    Admission,
    connections_that_fit,
    get_admission,
    sockets_that_fit,
)

RAISE = "from broadcasting.server.admission import raise_file_limit; print(raise_file_limit())"


def test_a_process_has_so_many_sockets_and_so_has_an_address() -> None:
    admission = Admission(max_connections=3, max_per_address=2)
    found = [admission.admit(address) for address in ("a", "a", "a", "b", "c", None)]
    assert found == [None, None, "address", None, "process", "process"]
    admission.release("a")
    assert admission.admit("a") is None
    assert admission.count == 3


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", "address"),
        ("2001:db8::1", "2001:db8:0:1::1", None),
        ("192.0.2.1", "::ffff:192.0.2.1", "address"),
        ("fe80::1%eth0", "fe80::2%eth0", "address"),
        ("a:b", "a:b", "address"),
        ("a:b", "a:c", None),
    ],
)
def test_what_one_client_is_given_is_one_address(
    first: str, second: str, reason: str | None
) -> None:
    """A network of 64 bits in IPv6, however the address is written; other texts as they are."""
    admission = Admission(max_per_address=1)
    assert admission.admit(first) is None
    assert admission.admit(second) == reason


def test_an_unknown_address_counts_in_all_only() -> None:
    admission = Admission(max_connections=3, max_per_address=1)
    assert [admission.admit(each) for each in (None, "", None, "")] == [None] * 3 + ["process"]
    admission.release(None)
    assert admission.count == 2


def test_limits_are_those_of_the_settings(settings: Settings) -> None:
    settings.BROADCASTING = {"SERVER": {"MAX_CONNECTIONS": 1, "MAX_CONNECTIONS_PER_ADDRESS": 1}}
    before = get_admission()
    assert before is get_admission()
    assert before.admit("192.0.2.1") is None
    assert before.admit("192.0.2.2") == "process"
    settings.BROADCASTING = {"SERVER": {"MAX_CONNECTIONS_PER_ADDRESS": 1}}
    assert get_admission().max_connections is None
    assert [get_admission().admit("192.0.2.1") for _ in range(2)] == [None, "address"]


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    limit = min(300, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    done = subprocess.run(
        [sys.executable, "-c", f"{RAISE}; import resource; print(resource.getrlimit(7))"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, limit)),
        env={"DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [str(limit), f"({limit}, {limit})"]


@pytest.mark.parametrize(("files", "sockets"), [(100, 50), (512, 256), (1024, 768), (65536, 65280)])
def test_sockets_leave_files_for_the_rest(files: int, sockets: int) -> None:
    assert sockets_that_fit(files) == sockets


@pytest.mark.parametrize(
    ("files", "sockets", "connections"),
    [
        *((None, None, None), (None, 5, 1005), (1024, 768, 896)),
        *((65_536, 5, 1005), (65_536, None, 65_408), (100, 50, 75)),
    ],
)
def test_http_has_places_beside_full_sockets(
    files: int | None, sockets: int | None, connections: int | None
) -> None:
    assert connections_that_fit(files, sockets) == connections
