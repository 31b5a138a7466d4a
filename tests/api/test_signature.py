"""Who has signed a request of the HTTP API, when, and what exactly."""

import time
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlencode

import pytest
from django.test import override_settings

from broadcasting.api import signature
from broadcasting.protocol.signatures import request_text, sign
from tests.api.api_calls import PATH, application, body_of, get, handle, one_app, post, signed

pytestmark = pytest.mark.usefixtures("two_apps")

EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def set_clock(monkeypatch: pytest.MonkeyPatch, now: int) -> None:
    """Stop the server's clock at `now`."""
    monkeypatch.setattr(signature, "time", SimpleNamespace(time=lambda: now))


# The query


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"auth_key": "key-43"}, "auth_key is not the key of application 42"),
        ({"auth_key": "\ud800"}, "auth_key is not the key of application 42"),
        ({"auth_version": "1"}, "auth_version must be 1.0"),
        ({"auth_timestamp": "soon"}, "auth_timestamp is not a number of seconds"),
        ({"auth_timestamp": "1"}, "Timestamp expired"),
        ({"body_md5": "0" * 32}, "Invalid signature: you should have sent HmacSHA256Hex("),
        ({"auth_signature": "0" * 64}, "Invalid signature"),
        ({"auth_signature": "é"}, "Invalid signature"),
        ({"extra": "1"}, "Invalid signature"),
    ],
)
async def test_an_altered_query_is_refused(change: dict[str, str], text: str) -> None:
    """The reason says what is wrong. Every parameter is covered, known or not."""
    query = dict(parse_qsl(signed(body_of()))) | change
    answer = await handle("POST", PATH, urlencode(query, errors="surrogatepass"), body_of())
    assert (answer.status, answer.body[: len(text)]) == (401, text)


@pytest.mark.parametrize("name", ["auth_key", "auth_version", "auth_timestamp", "auth_signature"])
async def test_no_parameter_may_be_missing(name: str) -> None:
    """An item of a list does not stand for it."""
    body = body_of()
    query = dict(parse_qsl(signed(body)))
    value = query.pop(name)
    for altered in (query, query | {f"{name}[]": value}):
        answer = await handle("POST", PATH, urlencode(altered), body)
        assert (answer.status, name in answer.body) == (401, True)


async def test_other_parameters_may_be_signed() -> None:
    """SDKs may add what they like."""
    assert (await post(body_of(), whatever="a b&c=d")).status == 200


async def test_a_wrong_signature_is_answered_with_the_text_to_sign() -> None:
    """As Pusher does, and encodable whatever the request contains."""
    query = {
        "auth_key": "key-42",
        "auth_timestamp": str(int(time.time())),
        "auth_version": "1.0",
        "auth_signature": "é\n\ud800",
        "x": "\ud800" + "x" * 5000,
    }
    answer = await handle("GET", "/apps/42/channels", urlencode(query, errors="surrogatepass"), b"")
    assert answer.status == 401
    assert (
        'HmacSHA256Hex("GET\\n/apps/42/channels\\n'
        f"auth_key=key-42&auth_timestamp={query['auth_timestamp']}&auth_version=1.0&x="
    ) in answer.body
    assert ', your_secret_key), but you sent "é\\n' in answer.body
    assert len(answer.body.encode()) < 5000


# The body


async def test_the_body_must_be_hashed() -> None:
    """Otherwise the signature would be right for any body."""
    body, app = body_of(), application()
    assert (await handle("POST", PATH, signed(body), body + b" ")).status == 401
    query = {
        "auth_key": app.key,
        "auth_timestamp": str(int(time.time())),
        "auth_version": "1.0",
    }
    query["auth_signature"] = sign(app.secret, request_text("POST", PATH, query))
    assert (await handle("POST", PATH, urlencode(query), body)).status == 401


async def test_an_empty_body_may_be_hashed() -> None:
    """The SDK for Python does so, others do not."""
    assert (await get("channels")).status == 200
    assert (await get("channels", body_md5=EMPTY_MD5)).status == 200
    for wrong in ("0" * 32, EMPTY_MD5.upper()):
        assert (await get("channels", body_md5=wrong)).status == 401


# The time


async def test_a_request_is_fresh_for_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """In both directions. A refusal contains both times."""
    now = 1_380_444_393
    set_clock(monkeypatch, now)
    for at, status in ((600, 200), (601, 401), (-600, 200), (-601, 401)):
        assert (await post(body_of(), at=now + at)).status == status
    answer = await post(body_of(), at=now - 86_400)
    for time_of in ("2013-09-28T08:46:33Z", "2013-09-29T08:46:33Z"):
        assert time_of in answer.body


@pytest.mark.parametrize(
    "value", ["", "x", "-1", "1e9", "٣", "9" * 30, "1.5", "1700000000000", "9" * 19]
)
async def test_a_timestamp_is_a_number_of_seconds(value: str) -> None:
    """Not of milliseconds."""
    assert (await post(body_of(), auth_timestamp=value)).status == 401


# The application


async def test_a_signature_is_for_one_application() -> None:
    """The key must be that of the application in the path."""
    body = body_of()
    for query in (signed(body), signed(body, "/apps/43/events")):
        assert (await handle("POST", "/apps/43/events", query, body)).status == 401


async def test_former_secrets_are_accepted() -> None:
    """While they are in `SECRET_FALLBACKS`."""
    with override_settings(BROADCASTING=one_app(SECRET_FALLBACKS=["old", "older"])):
        for secret, status in (("old", 200), ("older", 200), (None, 200), ("other", 401)):
            assert (await post(body_of(), secret=secret)).status == status


async def test_a_disabled_application_is_403() -> None:
    """But only a caller with the right signature learns that."""
    with override_settings(BROADCASTING=one_app(ENABLED=False)):
        for answer in (await post(body_of()), await get("channels")):
            assert (answer.status, "disabled" in answer.body) == (403, True)
        assert (await handle("POST", PATH, "", body_of())).status == 401
        assert (await post(body_of(), secret="wrong")).status == 401


async def test_a_published_vector_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """But not with another path, body or query. The protocol's tests have the other vectors."""
    app = {"ID": "3", "KEY": "278d425bdf160c739803", "SECRET": "7ad3773142a6692b25b8"}
    set_clock(monkeypatch, 1353088179)
    path = "/apps/3/events"
    body = rb'{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}'
    query = (
        f"auth_key={app['KEY']}&auth_timestamp=1353088179&auth_version=1.0"
        "&body_md5=ec365a775a4cd0599faeb73354201b6f"
        "&auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
    )
    with override_settings(BROADCASTING={"DEFAULT": "memory", "APPS": [app]}):
        assert (await handle("POST", path, query, body)).status == 200
        assert (await handle("POST", "/apps/3/batch_events", query, body)).status == 401
        assert (await handle("POST", path, query, body + b" ")).status == 401
        assert (await handle("POST", path, query + "&more=1", body)).status == 401
