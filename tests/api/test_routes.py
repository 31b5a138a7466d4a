"""The HTTP API as a whole: its routes, whatever comes, and behind Django."""

import threading
import time
from io import BytesIO
from urllib.parse import parse_qsl, quote, urlencode

import pytest
from django.test import AsyncClient, AsyncRequestFactory, Client, override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from broadcasting.drivers import base
from broadcasting.protocol.messages import Message
from broadcasting.protocol.signatures import body_md5, request_text, sign
from broadcasting.views.api import api
from tests.api.api_calls import (
    PATH,
    TWO_APPS,
    application,
    batch_of,
    body_of,
    event_of,
    handle,
    settle,
    signed,
)
from tests.conftest import RedisServer
from tests.utils import wait_until

pytestmark = pytest.mark.usefixtures("two_apps")

USERS = "users/u-1/terminate_connections"
ROUTES = [
    ("POST", "events", 400),
    ("POST", "batch_events", 400),
    ("POST", USERS, 200),
    ("GET", "channels", 200),
    ("GET", "channels/presence-x", 200),
    ("GET", "channels/presence-x/users", 200),
]


def of(method: str, path: str) -> tuple[str, str, str, bytes]:
    """Return the arguments of a signed call without a body."""
    return method, path, signed(b"", path, method=method), b""


# Where


@pytest.mark.parametrize(("method", "call", "status"), ROUTES)
@pytest.mark.parametrize("prefix", ["", "/push", "/apps/push", "/apps/43/channels"])
async def test_each_call_has_its_address(method: str, call: str, status: int, prefix: str) -> None:
    """Below ``/apps/<id>/``, also where the API is mounted below another ``/apps/``."""
    path = f"/apps/42/{call}"
    query = signed(b"", path, method=method)
    assert (await handle(method, f"{prefix}{path}", query, b"")).status == status


@pytest.mark.parametrize(("right", "call", "status"), ROUTES)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "post", ""])
async def test_another_method_is_405(right: str, call: str, status: int, method: str) -> None:
    """The answer says which one is right, to anybody."""
    answer = await handle(method, f"/apps/42/{call}", "", b"")
    if method == right:
        assert (answer.status, answer.allow) == (401, None)
    else:
        assert (answer.status, answer.allow) == (405, right)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/apps",
        "/apps/42",
        "/apps/42/",
        "/apps/42/nothing",
        "/apps/42/events/",
        "/apps/42/events/x",
        "/apps//events/",
        "/apps/42/channels/",
        "/apps/42/channels//users",
        "/apps/42/channels/x/nothing",
        "/apps/42/channels/x/users/y",
        "/apps/42/channels/x/events",
        "/apps/42/users//terminate_connections",
        "/apps/42/users/x/nothing",
        "/apps/42/users/x",
        "/users/x",
        "/events",
        "apps/42/events",
        "users/x/terminate_connections",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_route_is_404(method: str, path: str) -> None:
    """Whatever stands there."""
    answer = await handle(*of(method, path))
    assert (answer.status, answer.body) == (404, "Unknown route")


@pytest.mark.parametrize("app_id", ["7", "", "4", "42%2F", "%20"])
async def test_an_unknown_application_is_404(app_id: str) -> None:
    """Before anything of the request is looked at."""
    for method, call, _ in ROUTES:
        answer = await handle(method, f"/apps/{app_id}/{call}", "", b"")
        assert answer.status == 404
        assert "no application" in answer.body


async def test_names_in_the_path_may_be_words_of_it() -> None:
    """A channel called apps is a channel."""
    for name in ("apps", "channels", "users", "events"):
        for call in (f"channels/{name}", f"channels/presence-{name}/users"):
            assert (await handle(*of("GET", f"/apps/42/{call}"))).status == 200


async def test_the_last_application_in_a_path_counts() -> None:
    """Where a path may be read in two ways."""
    path = "/apps/apps/channels/events"  # Application apps, or application channels.
    assert (await handle("POST", path, "", b"")).body == 'There is no application "channels"'


async def test_a_slash_in_a_name_is_no_slash_of_the_path() -> None:
    """Escaped it belongs to the name, which no channel has."""
    answer = await handle(*of("GET", "/apps/42/channels/presence-a%2Fusers"))
    assert (answer.status, "presence-a/users" in answer.body) == (400, True)


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
    path=st.one_of(
        st.sampled_from([f"/apps/42/{call}" for _, call, _ in ROUTES]),
        st.text().map(lambda t: f"/apps/{t}"),
        st.text().map(lambda t: f"/users/{t}/terminate_connections"),
        st.text(),
    ),
    query=st.one_of(st.text(), st.dictionaries(st.text(), st.text()).map(urlencode)),
    body=st.binary(),
)
async def test_no_request_is_a_server_error(
    method: str, path: str, query: str, body: bytes
) -> None:
    """Any method, path, query and body is answered with a 4xx that can be sent."""
    for raw_path in (quote(path, errors="replace"), path):
        answer = await handle(method, raw_path, query, body)
        assert 400 <= answer.status < 500
        assert answer.body.encode()


surrogates = st.characters(exclude_categories=[])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    call=st.sampled_from([(method, call) for method, call, _ in ROUTES]),
    name=st.text(surrogates),
    parameters=st.dictionaries(
        st.sampled_from(["info", "info[]", "filter_by_prefix", "body_md5", "auth_key", "x"]),
        st.text(surrogates),
    ),
    body=st.binary(max_size=50),
)
async def test_no_signed_request_is_a_server_error(
    call: tuple[str, str], name: str, parameters: dict[str, str], body: bytes
) -> None:
    """Any name, parameter and body that an application signs is answered in words."""
    method, path = call
    raw_path = f"/apps/42/{path}".replace("presence-x", f"presence-{name}").replace("u-1", name)
    query = {
        "auth_key": "key-42",
        "auth_timestamp": str(int(time.time())),
        "auth_version": "1.0",
        "body_md5": body_md5(body),
    } | parameters
    joined = {key.removesuffix("[]"): value for key, value in query.items()}
    query["auth_signature"] = sign(application().secret, request_text(method, raw_path, joined))
    text = "&".join(f"{key}={quote(value, errors='surrogatepass')}" for key, value in query.items())
    answer = await handle(method, raw_path, text, body)
    assert answer.status in {200, 400, 401, 404}
    assert answer.body.encode()


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
    assert (await api(request, rest="42/events")).status_code == 200


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
    """A site without ASGI does all but sockets, and leaves no connection open."""
    monkeypatch.setattr(base, "_serving", threading.Event())
    redis_connection = {
        "DRIVER": "broadcasting.drivers.redis.RedisBroadcaster",
        "URL": redis_server.url,
    }
    with_redis = TWO_APPS | {"DEFAULT": "redis", "CONNECTIONS": {"redis": redis_connection}}
    with_info = body_of(info="subscription_count")
    batch = batch_of(event_of(channel="cache-x", data="1"))
    with override_settings(BROADCASTING=with_redis), Redis.from_url(redis_server.url) as redis:
        before = len(redis.client_list())
        for method, call, body, expected in (
            ("POST", "events", body_of(), "{}"),
            ("POST", "events", with_info, '{"channels":{"a":{"subscription_count":0}}}'),
            ("POST", "batch_events", batch, "{}"),
            ("POST", USERS, b"{}", "{}"),
            ("GET", "channels", b"", '{"channels":{}}'),
            ("GET", "channels/cache-x", b"", '{"occupied":false}'),
            ("GET", "channels/presence-x/users", b"", '{"users":[]}'),
        ):
            path = f"/apps/42/{call}"
            response = Client().generic(
                method,
                f"{path}?{signed(body, path, method=method)}",
                data=body,
                content_type="application/json",
            )
            assert (response.status_code, response.content.decode()) == (200, expected)
        path = "/apps/42/channels/cache-x"
        response = Client().get(f"{path}?{signed(b'', path, method='GET', info='cache')}")
        assert response.json()["cache"]["data"] == "1"
        wait_until(lambda: len(redis.client_list()) == before)


async def test_django_names_the_method() -> None:
    """405 carries the header that HTTP asks for."""
    response = await AsyncClient().get(PATH)
    assert (response.status_code, response["Allow"]) == (405, "POST")


async def test_djangos_limit_to_bodies_is_not_the_apis() -> None:
    """The application says how large an event may be, and no other setting has to follow."""
    body = body_of(data="x" * 5000)
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=1000):
        response = await AsyncClient().post(
            f"{PATH}?{signed(body)}", data=body, content_type="application/json"
        )
    assert response.status_code == 200


@pytest.mark.parametrize(
    "length", ["101441", "9" * 5_000], ids=["a byte too many", "a number beyond measure"]
)
async def test_a_declared_length_is_enough_to_refuse(length: str) -> None:
    """Nothing is read."""
    request = AsyncRequestFactory().post(
        f"{PATH}?{signed(body_of())}", data=body_of(), content_type="application/json"
    )
    request.META["CONTENT_LENGTH"] = length
    request._stream = BytesIO()
    request._stream.close()  # Reading would raise.
    assert (await api(request)).status_code == 413


@pytest.mark.parametrize("length", ["", "x", "-1", "²", " "])
async def test_a_length_that_is_none_is_found_out_by_reading(length: str) -> None:
    """As that of a body in chunks, of which not a byte too many is read."""
    for size, status in ((101_440, 200), (101_441, 413)):
        body = body_of().ljust(size)
        request = AsyncRequestFactory().post(
            f"{PATH}?{signed(body)}", data=body, content_type="application/json"
        )
        request.META["CONTENT_LENGTH"] = length
        stream = BytesIO(body + b" " * 1_000 * (status == 413))
        request._stream = stream
        assert (await api(request)).status_code == status
        assert stream.tell() == size


async def test_a_caller_who_leaves_is_no_server_error() -> None:
    """Nobody is there to read the answer, but the log would show a traceback."""

    class Broken(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("gone")

    body = body_of()
    request = AsyncRequestFactory().post(
        f"{PATH}?{signed(body)}", data=body, content_type="application/json"
    )
    request._stream = Broken()
    assert (await api(request)).status_code == 400


def test_the_sdk_for_python_ends_connections_elsewhere() -> None:
    """It leaves the application out of the path, and Django finds the call all the same."""
    path = "/users/u@1/terminate_connections"
    response = Client().post(
        f"{path}?{signed(b'{}', path)}", data=b"{}", content_type="application/json"
    )
    assert (response.status_code, response.content) == (200, b"{}")


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
