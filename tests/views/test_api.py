"""The HTTP API as far as publishing: by itself, and behind Django."""

import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import pytest
import pytest_asyncio
from django.test import AsyncClient, AsyncRequestFactory, Client, override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from broadcasting.conf import get_settings
from broadcasting.credentials import Application
from broadcasting.drivers import base, close_broker, get_broker
from broadcasting.drivers.base import Broker
from broadcasting.exceptions import BroadcastError, PublisherBusy
from broadcasting.protocol.messages import Message
from broadcasting.protocol.signatures import request_text, sign, sign_request
from broadcasting.views.api import BYTES_PER_CHARACTER, ENVELOPE, Response, api, handle
from tests.conftest import RedisServer
from tests.utils import await_until, wait_until

PATH = "/apps/42/events"
TWO_APPS: dict[str, Any] = {
    "DEFAULT": "memory",
    "APPS": [
        {"ID": "42", "KEY": "key-42", "SECRET": "secret-żółw"},
        {"ID": "43", "KEY": "key-43", "SECRET": "secret-43"},
    ],
}


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # The test's process is the one that serves, whatever other tests imported.
    monkeypatch.setattr(base, "_serving", threading.Event())
    base.serve_here()
    with override_settings(BROADCASTING=TWO_APPS):
        yield


@pytest_asyncio.fixture
async def heard() -> AsyncIterator[list[Message]]:
    """Yield what a listener of the channels a to e, of both applications, hears."""
    messages: list[Message] = []
    broker = get_broker()
    await broker.connect(messages.append)
    for app in ("42", "43"):
        for channel in "abcde":
            await broker.subscribe(f"{app}:{channel}")
    yield messages
    await close_broker()


def application(app_id: str = "42") -> Application:
    """Return an application of the settings."""
    (found,) = [app for app in get_settings().apps if app.id == app_id]
    return found


def body_of(**changes: Any) -> bytes:
    """Return the body of a good request, with `changes`; `None` leaves a key out."""
    body = {"name": "Hello", "channels": ["a"], "data": "{}"} | changes
    return json.dumps({k: v for k, v in body.items() if v is not None}).encode()


def signed(body: bytes, path: str = PATH, at: int | None = None, **extra: str) -> str:
    """Return the query string of a request by application 42, `extra` parameters signed too."""
    app = application()
    when = int(time.time()) if at is None else at
    query = sign_request(app, "POST", path, body, when) | extra
    query["auth_signature"] = sign(app.secret, request_text("POST", path, query))
    return urlencode(query)


async def post(body: bytes, path: str = PATH, **options: Any) -> Response:
    """Send a signed request."""
    return await handle("POST", path, signed(body, path, **options), body)


# What is published


async def test_event_reaches_each_channel(heard: list[Message]) -> None:
    """One message for each channel, with the data byte for byte and the excluded socket."""
    data = '{"a" :1, "é":"휙"}'
    answer = await post(body_of(name="Né", channels=["a", "b"], data=data, socket_id="5.7"))
    assert (answer.status, answer.body, answer.content_type) == (200, "{}", "application/json")
    await settle(heard, 2)
    assert heard == [Message("42", c, "Né", data, "5.7") for c in ("a", "b")]


async def settle(heard: list[Message], count: int) -> None:
    """Wait until `count` messages have come, and see that no more come with them."""
    await await_until(lambda: len(heard) >= count)
    assert len(heard) == count


async def test_a_single_channel_may_be_named(heard: list[Message]) -> None:
    """`channel` in place of `channels`, as SDKs write it."""
    assert (await post(body_of(channels=None, channel="c"))).status == 200
    await settle(heard, 1)
    assert heard[0].channel == "c"


async def test_a_channel_that_is_named_twice_gets_one_message(heard: list[Message]) -> None:
    """Duplicates publish once, in the order of their first mention."""
    assert (await post(body_of(channels=["b", "a", "b"]))).status == 200
    await settle(heard, 2)
    assert [m.channel for m in heard] == ["b", "a"]


async def test_requests_in_a_row_keep_their_order(heard: list[Message]) -> None:
    """Successive requests of one caller arrive in order."""
    for number in range(50):
        await post(body_of(data=str(number)))
    await settle(heard, 50)
    assert [m.data for m in heard] == [str(n) for n in range(50)]


@pytest.mark.parametrize(("length", "status"), [(10_240, 200), (10_241, 413)])
async def test_data_has_a_limit_in_bytes(length: int, status: int) -> None:
    """10 240 bytes of UTF-8 pass, one more does not, however few characters they are."""
    data = "휙" * (length // 3) + "x" * (length % 3)
    answer = await post(body_of(data=data))
    assert answer.status == status
    if status == 413:
        assert "10240 bytes" in answer.body


async def test_the_limit_is_the_applications() -> None:
    """`MAX_EVENT_SIZE` decides, and data that takes six bytes a character in JSON passes it."""
    apps = [{**TWO_APPS["APPS"][0], "MAX_EVENT_SIZE": 100_000}]
    with override_settings(BROADCASTING={"DEFAULT": "memory", "APPS": apps}):
        assert (await post(body_of(data="\0" * 100_000))).status == 200
        assert (await post(body_of(data="\0" * 100_001))).status == 413


async def test_a_huge_body_is_refused_before_it_is_parsed() -> None:
    """No limit of the protocol admits it."""
    assert (await post(b"[" * 200_000)).status == 413


async def test_a_body_has_a_limit_of_its_own() -> None:
    """What one event can need, and not a byte more; it is looked at before it is parsed."""
    limit = application().max_event_size * BYTES_PER_CHARACTER + ENVELOPE
    for size, status in ((limit, 200), (limit + 1, 413)):
        body = body_of().ljust(size)
        assert (await post(body)).status == status


@pytest.mark.parametrize(("count", "status"), [(100, 200), (101, 400), (0, 400)])
async def test_channels_have_a_limit(count: int, status: int) -> None:
    """One to a hundred channels."""
    names = [f"c{n}" for n in range(count)]
    assert (await post(body_of(channels=names))).status == status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"[" * 20_000,
        body_of(name=None),
        body_of(name=""),
        body_of(name=7),
        body_of(name="x" * 201),
        body_of(name="pusher:error"),
        body_of(name="pusher_internal:member_added"),
        body_of(name="\ud800"),
        body_of(data=None),
        body_of(data={"a": 1}),
        body_of(data=7),
        body_of(data="\udfff"),
        body_of(channels=None),
        body_of(channels="a"),
        body_of(channels={"a": 1}),
        body_of(channels=["a", 7]),
        body_of(channels=["a", "b c"]),
        body_of(channels=["a", "a\n"]),
        body_of(channels=["x" * 201]),
        body_of(channels=["#server-to-user-1"]),
        b'{"name":"x","data":"{}","channels":[' + b"[" * 900 + b"]" * 900 + b"]}",
        body_of(channels=None, channel=["a"]),
        body_of(socket_id="5"),
        body_of(socket_id="5.7\n"),
        body_of(socket_id="٥.٧"),
        body_of(socket_id=5.7),
        body_of(info="user_count"),
    ],
)
async def test_malformed_requests_publish_nothing(body: bytes, heard: list[Message]) -> None:
    """400 with a reason in plain text, and not even the good channels get the event."""
    answer = await post(body)
    assert answer.status == 400
    assert answer.body
    assert answer.content_type.startswith("text/plain")
    await post(body_of(name="End"))
    await settle(heard, 1)


# Who may publish


@pytest.mark.parametrize(("offset", "status"), [(-599, 200), (599, 200), (-602, 401), (602, 401)])
async def test_requests_age(offset: int, status: int) -> None:
    """Ten minutes in either direction; beyond, the answer names both times."""
    answer = await post(body_of(), at=int(time.time()) + offset)
    assert answer.status == status
    if status == 401:
        assert "Timestamp expired" in answer.body


@pytest.mark.parametrize("value", ["", "x", "-1", "1e9", "٣", "9" * 30, "1.5"])
async def test_a_timestamp_is_a_number_of_seconds(value: str) -> None:
    """Anything else is refused, however it is signed."""
    assert (await post(body_of(), auth_timestamp=value)).status == 401


async def test_an_altered_body_is_refused() -> None:
    """The signature covers the body by its hash."""
    body = body_of()
    assert (await handle("POST", PATH, signed(body), body + b" ")).status == 401


@pytest.mark.parametrize(
    "change",
    [
        {"auth_key": "key-43"},
        {"auth_version": "2.0"},
        {"auth_timestamp": "1"},
        {"body_md5": "0" * 32},
        {"auth_signature": "0" * 64},
        {"auth_signature": "é"},
        {"extra": "1"},
    ],
)
async def test_an_altered_query_is_refused(change: dict[str, str]) -> None:
    """Every parameter is covered by the signature, known or not."""
    body = body_of()
    query = dict(parse_qsl(signed(body))) | change
    assert (await handle("POST", PATH, urlencode(query), body)).status == 401


@pytest.mark.parametrize("name", ["auth_key", "auth_version", "auth_timestamp", "auth_signature"])
async def test_no_parameter_may_be_missing(name: str) -> None:
    """Without any one of them nobody has signed."""
    body = body_of()
    query = dict(parse_qsl(signed(body)))
    del query[name]
    assert (await handle("POST", PATH, urlencode(query), body)).status == 401


async def test_the_body_must_be_hashed() -> None:
    """A signature over a query without `body_md5` would cover any body."""
    body, app = body_of(), application()
    query = {
        "auth_key": app.key,
        "auth_timestamp": str(int(time.time())),
        "auth_version": "1.0",
    }
    query["auth_signature"] = sign(app.secret, request_text("POST", PATH, query))
    assert (await handle("POST", PATH, urlencode(query), body)).status == 401


async def test_further_signed_parameters_are_admitted() -> None:
    """SDKs may add what they like, as long as they sign it."""
    assert (await post(body_of(), whatever="a b&c=d")).status == 200


async def test_a_parameter_given_twice_is_refused() -> None:
    """Two readers of the query could take two values for the truth."""
    body = body_of()
    assert (await handle("POST", PATH, signed(body) + "&auth_key=key-42", body)).status == 400


async def test_one_applications_signature_opens_no_other() -> None:
    """The key must be that of the application in the path."""
    body = body_of()
    assert (await handle("POST", "/apps/43/events", signed(body), body)).status == 401
    other = signed(body, "/apps/43/events")
    assert (await handle("POST", "/apps/43/events", other, body)).status == 401


async def test_a_mount_prefix_is_not_signed_but_may_be() -> None:
    """SDKs sign the path below the prefix; one that signs all of it is right as well."""
    body = body_of()
    assert (await handle("POST", f"/push{PATH}", signed(body), body)).status == 200
    assert (await handle("POST", f"/push{PATH}", signed(body, f"/push{PATH}"), body)).status == 200


async def test_a_path_may_come_escaped() -> None:
    """A proxy that escapes what the SDK signed unescaped changes nothing, nor the reverse."""
    body = body_of()
    escaped = "/apps/4%32/events"
    assert (await handle("POST", escaped, signed(body), body)).status == 200
    assert (await handle("POST", escaped, signed(body, escaped), body)).status == 200


async def test_a_prefix_may_come_escaped() -> None:
    """Where an SDK signs the prefix too, as it wrote it."""
    body = body_of()
    query = signed(body, f"/pöst{PATH}")
    assert (await handle("POST", f"/p%C3%B6st{PATH}", query, body)).status == 200


# Where


@pytest.mark.parametrize(
    "path",
    ["/apps/42", "/apps/42/", "/apps/42/nothing", "/apps/42/events/x", "/apps//events/", "/"],
)
async def test_an_unknown_route_is_404(path: str) -> None:
    """Whatever stands there."""
    assert (await post(body_of(), path)).status == 404


async def test_an_unknown_application_is_404() -> None:
    """Before anything of the request is looked at."""
    assert (await post(body_of(), "/apps/7/events")).status == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", ""])
async def test_another_method_is_405(method: str) -> None:
    """The answer says which one is right."""
    answer = await handle(method, PATH, "", b"")
    assert (answer.status, answer.allow) == (405, "POST")


# When the bus is not well


@pytest.mark.parametrize("error", [PublisherBusy("10000 wait"), BroadcastError("Redis is away")])
async def test_a_bus_that_is_away_is_503(
    error: Exception, heard: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller may try again."""

    async def refuse(self: Broker, message: Message) -> None:
        raise error

    monkeypatch.setattr(type(get_broker()), "publish", refuse)
    answer = await post(body_of())
    assert (answer.status, answer.body) == (503, str(error))


# Whatever comes


@pytest.mark.parametrize("query", ["\ud800", "{}&a=\ud800", "{}&auth_signature=\ud800"])
async def test_text_that_utf8_cannot_carry_is_refused(query: str) -> None:
    """Without raising."""
    body = body_of()
    parameters = dict(parse_qsl(signed(body)))
    if "signature" in query:
        del parameters["auth_signature"]
    answer = await handle("POST", PATH, query.format(urlencode(parameters)), body)
    assert answer.status == 401
    assert (await handle("POST", "/apps/\ud800/events", "", b"")).status == 404


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    method=st.sampled_from(["POST", "GET", "Ω"]),
    path=st.one_of(st.just(PATH), st.text().map(lambda t: f"/apps/{t}"), st.text()),
    query=st.one_of(st.text(), st.dictionaries(st.text(), st.text()).map(urlencode)),
    body=st.binary(),
)
async def test_no_request_is_a_server_error(
    method: str, path: str, query: str, body: bytes
) -> None:
    """Any method, path, query and body is answered with a 4xx."""
    answer = await handle(method, quote(path, errors="replace"), query, body)
    assert 400 <= answer.status < 500


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    body=st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("name", "data", "channels", "channel", "socket_id"), json_values),
    )
)
async def test_no_signed_body_is_a_server_error(body: dict[str, Any]) -> None:
    """Any JSON in any field, rightly signed, is taken or answered with 400."""
    assert (await post(json.dumps(body).encode())).status in {200, 400}


# Behind Django


async def test_django_serves_it(heard: list[Message]) -> None:
    """Under any ASGI server the view answers, without a CSRF token."""
    body = body_of()
    client = AsyncClient(enforce_csrf_checks=True)
    response = await client.post(
        f"{PATH}?{signed(body)}", data=body, content_type="application/json"
    )
    assert (response.status_code, response.content) == (200, b"{}")
    assert response["Content-Type"] == "application/json"
    await settle(heard, 1)


@pytest.mark.parametrize("raw_path", [None, b"", b"/apps/42/events", b"/apps/4%32/events?x"])
async def test_a_server_need_not_say_how_the_path_was_written(raw_path: bytes | None) -> None:
    """`raw_path` is optional in ASGI, and some servers put the query into it."""
    body = body_of()
    request = AsyncRequestFactory().post(
        f"{PATH}?{signed(body)}", data=body, content_type="application/json"
    )
    request.scope = {**request.scope, "raw_path": raw_path}
    assert (await api(request, "42/events")).status_code == 200


def test_a_process_without_sockets_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under WSGI nobody would hear of it; the answer tells what to serve in its place."""
    monkeypatch.setattr(base, "_serving", threading.Event())
    body = body_of()
    response = Client().post(f"{PATH}?{signed(body)}", data=body, content_type="application/json")
    assert response.status_code == 503
    assert "daphne first in INSTALLED_APPS" in response.content.decode()


def test_django_serves_a_shared_bus_under_wsgi(
    monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer
) -> None:
    """A site without ASGI publishes to processes that serve, and leaves no connection open."""
    monkeypatch.setattr(base, "_serving", threading.Event())
    redis_connection = {
        "DRIVER": "broadcasting.drivers.redis.RedisBroadcaster",
        "URL": redis_server.url,
    }
    with_redis = TWO_APPS | {"DEFAULT": "redis", "CONNECTIONS": {"redis": redis_connection}}
    with override_settings(BROADCASTING=with_redis), Redis.from_url(redis_server.url) as redis:
        before = len(redis.client_list())
        body = body_of()
        for _ in range(5):
            path = f"{PATH}?{signed(body)}"
            response = Client().post(path, data=body, content_type="application/json")
            assert response.status_code == 200
        wait_until(lambda: len(redis.client_list()) == before)


async def test_django_names_the_method() -> None:
    """405 carries the header that HTTP asks for."""
    response = await AsyncClient().get(PATH)
    assert (response.status_code, response["Allow"]) == (405, "POST")


async def test_a_body_over_djangos_limit_is_413() -> None:
    """The limit that Django sets to bodies in memory is no server error."""
    body = body_of(data="x" * 5000)
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=1000):
        response = await AsyncClient().post(
            f"{PATH}?{signed(body)}", data=body, content_type="application/json"
        )
    assert response.status_code == 413


async def test_no_secret_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Neither answers nor the log hold a secret or what a right signature would be."""
    caplog.set_level("DEBUG")
    body, app = body_of(), application()
    query = dict(parse_qsl(signed(body)))
    right = query["auth_signature"]
    answer = await handle("POST", PATH, urlencode(query | {"auth_signature": "0" * 64}), body)
    for text in (answer.body, caplog.text):
        assert app.secret not in text
        assert right not in text
