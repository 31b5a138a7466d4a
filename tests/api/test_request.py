"""Who may call the HTTP API, and from where."""

import time
from collections.abc import Sequence
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlencode

import pytest
from django.test import override_settings

from broadcasting.api import signature
from broadcasting.api.events import max_event_body
from broadcasting.api.request import Request, find_address
from broadcasting.api.routes import answer
from broadcasting.protocol.signatures import request_text, sign
from tests.api.api_calls import PATH, application, body_of, get, handle, one_app, post, signed

pytestmark = pytest.mark.usefixtures("two_apps")


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


async def test_so_many_parameters_are_refused_unread() -> None:
    """Nobody has signed yet: sorting and joining thousands is more than a stranger may ask."""
    body = body_of()
    most = {f"p{number}": "" for number in range(100 - len(parse_qsl(signed(body))))}
    assert (await post(body, **most)).status == 200
    answer = await post(body, **most, one="")
    assert (answer.status, answer.body) == (400, "The query string has more than 100 parameters")


def test_only_the_end_of_an_address_is_looked_at() -> None:
    """Every part of a long one would be, with all that follow it, and be copied each time."""
    looked_at: list[Sequence[str]] = []

    def is_call(call: Sequence[str]) -> bool:
        looked_at.append(call)
        return False

    assert find_address("/apps/x" * 10_000, is_call) is None
    assert len(looked_at) <= 3
    assert find_address("/apps/x" * 10_000 + "/events", lambda call: call == ["events"]) is not None


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
    assert (await handle("POST", f"/push{escaped}", signed(body), body)).status == 200
    assert (await handle("POST", f"/push{escaped}", signed(body, escaped), body)).status == 200


async def test_a_prefix_may_come_escaped() -> None:
    """Where an SDK signs the prefix too, as it wrote it."""
    body = body_of()
    query = signed(body, f"/pöst{PATH}")
    assert (await handle("POST", f"/p%C3%B6st{PATH}", query, body)).status == 200


# In the words of the protocol


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"auth_key": "key-43"}, "auth_key is not the key of application 42"),
        ({"auth_key": "\ud800"}, "auth_key is not the key of application 42"),
        ({"auth_version": "1"}, "auth_version must be 1.0"),
        ({"auth_timestamp": "soon"}, "auth_timestamp is not a number of seconds"),
        ({"body_md5": "0" * 32}, "Invalid signature: you should have sent HmacSHA256Hex("),
    ],
)
async def test_a_refusal_says_what_is_wrong(change: dict[str, str], text: str) -> None:
    """So that the maker of an SDK need not guess."""
    query = dict(parse_qsl(signed(body_of()))) | change
    encoded = urlencode(query, errors="surrogatepass")
    answer = await handle("POST", PATH, encoded, body_of())
    assert (answer.status, answer.body[: len(text)]) == (401, text)


async def test_a_wrong_signature_is_answered_with_what_to_sign() -> None:
    """As Pusher does, and as text that can be sent whatever was asked."""
    query = {
        "auth_key": "key-42",
        "auth_timestamp": str(int(time.time())),
        "auth_version": "1.0",
        "auth_signature": "é\n\ud800",
        "x": "\ud800" + "x" * 5000,
    }
    answer = await handle("GET", "/apps/42/channels", urlencode(query, errors="surrogatepass"), b"")
    assert answer.status == 401
    assert answer.body.startswith(
        'Invalid signature: you should have sent HmacSHA256Hex("GET\\n/apps/42/channels\\n'
        f"auth_key=key-42&auth_timestamp={query['auth_timestamp']}&auth_version=1.0&x="
    )
    assert ', your_secret_key), but you sent "é\\n' in answer.body
    assert len(answer.body.encode()) < 5000


async def test_an_expired_request_is_told_both_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of most failures of this kind a clock is the cause."""
    set_clock(monkeypatch, 1_380_444_393 + 86_400)
    answer = await post(body_of(), at=1_380_444_393)
    assert answer.body == (
        "Timestamp expired: Given timestamp (2013-09-29T08:46:33Z) not within 600s of "
        "server time (2013-09-30T08:46:33Z)"
    )


@pytest.mark.parametrize("timestamp", ["1700000000000", "9" * 19])
async def test_milliseconds_are_expired(timestamp: str) -> None:
    """They name no date that could be shown."""
    answer = await post(body_of(), auth_timestamp=timestamp)
    assert (answer.status, timestamp in answer.body) == (401, True)


@pytest.mark.parametrize(("offset", "status"), [(600, 200), (601, 401), (-600, 200), (-601, 401)])
async def test_the_window_ends_sharply(
    offset: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """600 seconds count, 601 do not."""
    set_clock(monkeypatch, 1_700_000_000)
    assert (await post(body_of(), at=1_700_000_000 + offset)).status == status


# Applications


@pytest.mark.parametrize(("secret", "status"), [("old", 200), ("older", 200), ("other", 401)])
async def test_former_secrets_count(secret: str, status: int) -> None:
    """While they are in `SECRET_FALLBACKS`; the first one always does."""
    with override_settings(BROADCASTING=one_app(SECRET_FALLBACKS=["old", "older"])):
        assert (await post(body_of(), secret=secret)).status == status
        assert (await post(body_of())).status == 200


async def test_a_disabled_application_is_403() -> None:
    """To who has signed; strangers learn nothing."""
    with override_settings(BROADCASTING=one_app(ENABLED=False)):
        for answer in (await post(body_of()), await get("channels")):
            assert (answer.status, "disabled" in answer.body) == (403, True)
        assert (await handle("POST", PATH, "", body_of())).status == 401
        assert (await post(body_of(), secret="wrong")).status == 401


# What SDKs sign


async def test_an_empty_body_may_be_hashed() -> None:
    """Python's SDK does on every GET; others do not. One that is given must be right."""
    assert (await get("channels", body_md5="d41d8cd98f00b204e9800998ecf8427e")).status == 200
    assert (await get("channels")).status == 200
    assert (await get("channels", body_md5="0" * 32)).status == 401
    assert (await get("channels", body_md5="D41D8CD98F00B204E9800998ECF8427E")).status == 401


async def test_a_list_is_signed_joined_by_commas() -> None:
    """PHP's SDK spells each item and signs them together."""
    path = "/apps/42/channels"
    for spelled, status in (
        ("info%5B0%5D=user_count&info%5B1%5D=subscription_count", 200),
        ("info[]=user_count&info[]=subscription_count", 200),
        ("info=user_count,subscription_count", 200),
        ("info[1]=subscription_count&info[0]=user_count", 401),
        ("info[0]=user_count&info[0]=subscription_count", 400),
        ("info=user_count&info[]=subscription_count", 400),
        ("info[]=user_count&info=subscription_count", 400),
        ("info=user_count&Info=subscription_count", 400),
    ):
        query = signed(
            b"",
            path,
            method="GET",
            filter_by_prefix="presence-",
            info="user_count,subscription_count",
        )
        plain = "info=user_count%2Csubscription_count"
        assert plain in query
        answer = await handle("GET", path, query.replace(plain, spelled), b"")
        assert answer.status == status, spelled


@pytest.mark.parametrize("name", ["auth_key", "auth_timestamp", "auth_version", "auth_signature"])
async def test_what_authenticates_is_no_list(name: str) -> None:
    """An item of one does not stand for it."""
    body = body_of()
    query = signed(body).replace(f"{name}=", f"{name}[]=")
    assert (await handle("POST", PATH, query, body)).status == 401


async def test_names_of_parameters_are_read_in_lower_case() -> None:
    """As they are signed."""
    body = body_of()
    query = signed(body).replace("auth_", "Auth_").replace("body_md5", "BODY_MD5")
    assert (await handle("POST", PATH, query, body)).status == 200


def set_clock(monkeypatch: pytest.MonkeyPatch, now: int) -> None:
    """Let the server's clock stand at `now`."""
    monkeypatch.setattr(signature, "time", SimpleNamespace(time=lambda: now))


PAIR_1 = {"ID": "3", "KEY": "278d425bdf160c739803", "SECRET": "7ad3773142a6692b25b8"}
PAIR_2 = {"ID": "4242", "KEY": "whik-key", "SECRET": "whik-secret-ż"}
EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"
BRACES_MD5 = "99914b932bd37a50b983c5e7c90ae93b"


@pytest.mark.parametrize(
    ("app", "method", "path", "parameters", "signature", "body"),
    [
        (
            PAIR_1,
            "POST",
            "/apps/3/events",
            "auth_timestamp=1353088179&body_md5=ec365a775a4cd0599faeb73354201b6f",
            "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c",
            rb'{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}',
        ),
        (
            PAIR_2,
            "GET",
            "/apps/4242/channels",
            "filter_by_prefix=presence-&info=user_count%2Csubscription_count",
            "e0705e13257c0a04902f6ac96d230213a6b26bdc73c9bbf78ad24f8935c85528",
            b"",
        ),
        (
            PAIR_2,
            "GET",
            "/apps/4242/channels/presence-a@b",
            f"body_md5={EMPTY_MD5}&info=user_count",
            "c0a08984531c5939e2e33f7e6eed32ef8ead7f5063b7a4036d76220720dd43b6",
            b"",
        ),
        (
            PAIR_2,
            "GET",
            "/apps/4242/channels/presence-a%40b",
            f"body_md5={EMPTY_MD5}&info=user_count",
            "c0a08984531c5939e2e33f7e6eed32ef8ead7f5063b7a4036d76220720dd43b6",
            b"",
        ),
        (
            PAIR_2,
            "POST",
            "/apps/4242/users/u-1/terminate_connections",
            f"body_md5={BRACES_MD5}",
            "90970772835c6b48ac081de1f2e5d1532f6b589bfffdf39195eda147ec873641",
            b"{}",
        ),
        (
            PAIR_2,
            "POST",
            "/users/u-1/terminate_connections",
            f"body_md5={BRACES_MD5}",
            "909a5be6cd5049626722d835eb177e98004032bdd91514a8c032e7ca28047c8a",
            b"{}",
        ),
    ],
)
async def test_published_vectors_are_accepted(
    app: dict[str, str],
    method: str,
    path: str,
    parameters: str,
    signature: str,
    body: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Signatures that were computed elsewhere; none counts for another path or body."""
    set_clock(monkeypatch, 1353088179 if app is PAIR_1 else 1_700_000_000)
    query = f"auth_key={app['KEY']}&auth_version=1.0&auth_signature={signature}&{parameters}"
    if "auth_timestamp" not in parameters:
        query += "&auth_timestamp=1700000000"
    with override_settings(BROADCASTING={"DEFAULT": "memory", "APPS": [app]}):
        assert (await handle(method, path, query, body)).status == 200
        assert (await handle(method, path, query, body + b" ")).status == 401
        other = path.replace("u-1", "u-2").replace("events", "batch_events")
        other = other.replace("/channels", "/channels/x")
        assert (await handle(method, other, query, body)).status in {401, 404}
        assert (await handle(method, path, query + "&more=1", body)).status == 401


async def test_nothing_is_read_of_strangers() -> None:
    """A body is asked for when the signature is right, and no more of it than may be there."""
    asked: list[int] = []

    async def read(limit: int) -> bytes | None:
        asked.append(limit)
        return None

    async def status(method: str, path: str, query: str) -> int:
        return (await answer(Request(method, path, query, read))).status

    assert await status("POST", PATH, "") == 401
    assert await status("POST", PATH, signed(b"x", secret="wrong")) == 401
    assert await status("GET", PATH, signed(b"x")) == 405
    assert await status("POST", "/apps/7/events", signed(b"x")) == 404
    assert not asked
    assert await status("POST", PATH, signed(b"x")) == 413
    assert asked == [max_event_body(application())]


@pytest.mark.parametrize(("method", "call"), [("GET", "channels"), ("POST", "users/u/x")])
async def test_a_call_without_a_body_takes_hardly_one(method: str, call: str) -> None:
    """What it means nothing to is not read at length."""
    path = f"/apps/42/{call}".replace("/x", "/terminate_connections")
    for size, status in ((1_000, 200), (1_001, 413)):
        body = b" " * size
        query = signed(body, path, method=method)
        assert (await handle(method, path, query, body)).status == status
