"""Requests of the HTTP API: addresses, parameters, and bodies that are read last."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

import pytest

from broadcasting.api.events import max_event_body
from broadcasting.api.request import Request, find_address
from broadcasting.api.routes import answer
from tests.api.api_calls import PATH, application, body_of, handle, post, signed

pytestmark = pytest.mark.usefixtures("two_apps")


def test_only_the_end_of_an_address_is_read() -> None:
    """Otherwise each part of a long one would be copied, with all that follow it."""
    read: list[Sequence[str]] = []

    def is_call(call: Sequence[str]) -> bool:
        read.append(call)
        return False

    assert find_address("/apps/x" * 10_000, is_call) is None
    assert len(read) <= 3
    assert find_address("/apps/x" * 10_000 + "/events", lambda call: call == ["events"]) is not None


async def test_a_prefix_may_be_signed_and_a_path_be_escaped() -> None:
    """SDKs sign the path below the prefix, or all of it, and proxies may escape it."""
    body, escaped = body_of(), "/apps/4%32/events"
    for path, signed_path in (
        (f"/push{PATH}", PATH),
        (f"/push{PATH}", f"/push{PATH}"),
        (escaped, PATH),
        (escaped, escaped),
        (f"/push{escaped}", PATH),
        (f"/push{escaped}", escaped),
        (f"/p%C3%B6st{PATH}", f"/pöst{PATH}"),
    ):
        assert (await handle("POST", path, signed(body, signed_path), body)).status == 200


async def test_a_parameter_given_twice_is_refused() -> None:
    """Different programs might use different values."""
    body = body_of()
    assert (await handle("POST", PATH, signed(body) + "&auth_key=key-42", body)).status == 400


async def test_parameters_have_a_limit() -> None:
    """They are read before the signature is checked."""
    body = body_of()
    most = {f"p{number}": "" for number in range(100 - len(parse_qsl(signed(body))))}
    assert (await post(body, **most)).status == 200
    refusal = await post(body, **most, one="")
    assert (refusal.status, "more than 100 parameters" in refusal.body) == (400, True)


@pytest.mark.parametrize(
    ("spelled", "status"),
    [
        ("info%5B0%5D=user_count&info%5B1%5D=subscription_count", 200),
        ("info[]=user_count&info[]=subscription_count", 200),
        ("info=user_count,subscription_count", 200),
        ("info[1]=subscription_count&info[0]=user_count", 401),
        ("info[0]=user_count&info[0]=subscription_count", 400),
        ("info=user_count&info[]=subscription_count", 400),
        ("info[]=user_count&info=subscription_count", 400),
        ("info=user_count&Info=subscription_count", 400),
    ],
)
async def test_a_list_is_signed_joined_by_commas(spelled: str, status: int) -> None:
    """The SDK for PHP sends each item by itself."""
    path = "/apps/42/channels"
    parameters: dict[str, Any] = {
        "filter_by_prefix": "presence-",
        "info": "user_count,subscription_count",
    }
    query = signed(b"", path, method="GET", **parameters)
    plain = "info=user_count%2Csubscription_count"
    assert plain in query
    assert (await handle("GET", path, query.replace(plain, spelled), b"")).status == status


async def test_names_of_parameters_are_read_in_lower_case() -> None:
    """As they are signed."""
    body = body_of()
    query = signed(body).replace("auth_", "Auth_").replace("body_md5", "BODY_MD5")
    assert (await handle("POST", PATH, query, body)).status == 200


async def test_the_body_of_a_stranger_is_not_read() -> None:
    """It is read when the signature is right, up to its limit."""
    limits: list[int] = []

    async def read(limit: int) -> bytes | None:
        limits.append(limit)
        return None

    async def status(method: str, path: str, query: str) -> int:
        return (await answer(Request(method, path, query, read))).status

    assert await status("POST", PATH, "") == 401
    assert await status("POST", PATH, signed(b"x", secret="wrong")) == 401
    assert await status("GET", PATH, signed(b"x")) == 405
    assert await status("POST", "/apps/7/events", signed(b"x")) == 404
    assert not limits
    assert await status("POST", PATH, signed(b"x")) == 413
    assert limits == [max_event_body(application())]


@pytest.mark.parametrize(
    ("method", "call"), [("GET", "channels"), ("POST", "users/u/terminate_connections")]
)
async def test_a_body_without_a_meaning_has_a_small_limit(method: str, call: str) -> None:
    """Usually it is empty, or an empty object."""
    path = f"/apps/42/{call}"
    for size, status in ((1_000, 200), (1_001, 413)):
        body = b" " * size
        query = signed(body, path, method=method)
        assert (await handle(method, path, query, body)).status == status
