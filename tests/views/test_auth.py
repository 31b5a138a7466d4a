"""The auth endpoints: what is signed, for whom, and what is told to the rest."""

import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory
from django.urls import path
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from broadcasting import channel_authorizer, user_authenticator
from broadcasting.authorization import rules as authorization
from broadcasting.conf import get_settings
from broadcasting.guests import COOKIE_NAME, is_guest_id
from broadcasting.protocol.errors import Unauthorized
from broadcasting.protocol.names import is_channel_name, is_socket_id
from broadcasting.protocol.signatures import check_channel, check_user
from broadcasting.views.auth import MAX_BODY, auth, user_auth
from whik.factories import UserFactory

# The protocol document's: pairs 1 and 2 of section 18.
ONE = {"ID": "3", "KEY": "278d425bdf160c739803", "SECRET": "7ad3773142a6692b25b8"}
TWO = {
    "ID": "4242",
    "KEY": "whik-key",
    "SECRET": "whik-secret-ż",
    "ENCRYPTION_MASTER_KEY_BASE64": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
}
SOCKET = "1234.1234"

urlpatterns = [
    path("first", auth),
    path("second", auth, {"app_id": "4242"}),
    path("second/user", user_auth, {"app_id": "4242"}),
]


class Person:
    """A user without a database."""

    is_authenticated = True

    def __init__(self, pk: object = 7) -> None:
        self.pk = pk


@pytest.fixture(autouse=True)
def _project(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Have a project without rules, whose application is that of the vectors."""
    monkeypatch.setattr(authorization, "_rules", [])
    monkeypatch.setattr(authorization, "_sign_in_rules", [])
    settings.BROADCASTING = {"APPS": [ONE, TWO]}


def post(
    view: Callable[..., HttpResponse],
    body: Any = b"",
    user: Any = None,
    content_type: str = "application/x-www-form-urlencoded",
    **meta: Any,
) -> HttpResponse:
    """Post to a view without a cookie, as somebody: a form, as bytes or as a dictionary."""
    data = urlencode(body, doseq=True).encode() if isinstance(body, dict) else body
    request = RequestFactory().generic("POST", "/", data, content_type, **meta)
    request.user = user or AnonymousUser()
    return view(request)


def post_json(view: Callable[..., HttpResponse], value: object, user: Any = None) -> HttpResponse:
    """Post JSON to a view."""
    return post(view, json.dumps(value).encode(), user, "application/json")


def join(channel: object, user: Any = None, socket_id: object = SOCKET) -> Any:
    """Return what is answered to a form that asks for one channel."""
    response = post(auth, {"socket_id": socket_id, "channel_name": channel}, user or Person())
    return json.loads(response.content)


def refusals(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return the level and the text of what the endpoints have logged."""
    return [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name == "broadcasting.auth"
    ]


def allow(pattern: str = "{all:path}", result: object = True, **options: Any) -> None:
    """Let everybody into the channels of a pattern."""
    channel_authorizer(pattern, lambda user, **names: result, **options)


# Signatures


def test_a_private_channel_is_answered_with_its_signature() -> None:
    """A dictionary of the rule is not sent (vector 1)."""
    allow(result={"name": "A"})
    signature = "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
    assert join("private-foobar") == {"auth": f"{ONE['KEY']}:{signature}"}


@pytest.mark.parametrize("kind", ["presence-", "presence-cache-"])
def test_a_presence_channel_is_answered_with_the_member(kind: str) -> None:
    """The text that was signed is sent, with the id as text."""
    allow(result={"name": "Mr. Channels"})
    answer = join(f"{kind}foobar", Person(10))
    data = '{"user_id":"10","user_info":{"name":"Mr. Channels"}}'
    text = f"{SOCKET}:{kind}foobar:{data}"
    signature = hmac.new(ONE["SECRET"].encode(), text.encode(), hashlib.sha256).hexdigest()
    assert answer == {"auth": f"{ONE['KEY']}:{signature}", "channel_data": data}


@pytest.mark.parametrize("result", [True, UserFactory.build()])
def test_a_member_without_info_has_none(result: object) -> None:
    """A true result or a model is not sent to the others."""
    allow(result=result)
    assert join("presence-foobar")["channel_data"] == '{"user_id":"7"}'


def test_user_info_is_encoded_like_the_data_of_events() -> None:
    """The server accepts what was signed."""
    allow(result={"n": "żółw", "d": date(2026, 3, 1), "t": datetime(2026, 3, 1, tzinfo=UTC)})
    answer = join("presence-foobar", Person("é"))
    assert answer["channel_data"] == (
        '{"user_id":"é","user_info":{"n":"żółw","d":"2026-03-01",'
        '"t":"2026-03-01T00:00:00.000000Z"}}'
    )
    check_channel(
        get_settings().apps[0], answer["auth"], SOCKET, "presence-foobar", answer["channel_data"]
    )


@pytest.mark.urls(__name__)
class TestSecondApplication:
    def test_a_route_may_name_another_application(self) -> None:
        """Its key signs, and its secret encrypts (vectors 5 and 12)."""
        allow(guests=True)
        body = {"socket_id": "5.7", "channel_name": "private-encrypted-a@b=c,d.e;f"}
        signature = "36f6cce232214ccd6f4a618deb963f0b029ee74983149c68e3f78935888388ee"
        assert Client().post("/second", body).json()["auth"] == f"whik-key:{signature}"
        body["channel_name"] = "private-encrypted-vec"
        answer = Client().post("/second", body).json()
        assert answer["shared_secret"] == "BEoig3XgBz8zTfKJIjtlKAnEr/S5ffHrbQfZhnIrU6M="
        assert set(answer) == {"auth", "shared_secret"}

    def test_it_signs_users_in(self) -> None:
        """With its own key."""
        user_authenticator(lambda user: {"id": "u-1", "watchlist": ["u-2"]}, guests=True)
        answer = Client().post("/second/user", {"socket_id": "5.7"}).json()
        assert json.loads(answer["user_data"]) == {"id": "u-1", "watchlist": ["u-2"]}
        check_user(get_settings().apps[1], answer["auth"], "5.7", answer["user_data"])

    def test_a_disabled_application_signs_nothing(
        self, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The log says why."""
        allow()
        settings.BROADCASTING = {"APPS": [{**ONE, "ENABLED": False}]}
        response = Client().post("/first", {"socket_id": "5.7", "channel_name": "private-x"})
        assert (response.status_code, response.json()) == (403, {"error": "Forbidden"})
        assert "Refused POST /first: application '3'" in refusals(caplog)[0][1]


def test_a_route_with_an_unknown_application_is_a_mistake() -> None:
    """It raises."""
    request = RequestFactory().post("/", {"socket_id": SOCKET, "channel_name": "private-x"})
    with pytest.raises(ImproperlyConfigured, match="names the application '5'"):
        auth(request, app_id="5")


@pytest.mark.parametrize(
    "channel",
    ["private-a", "presence-a", "private-cache-a", "presence-cache-a", "private-encrypted-a"],
)
def test_the_server_accepts_what_is_signed(channel: str, settings: Settings) -> None:
    """For this socket and this channel only."""
    settings.BROADCASTING = {"APPS": [TWO]}
    allow("a", {"name": "A"})
    answer = join(channel)
    app, data = get_settings().apps[0], answer.get("channel_data")
    check_channel(app, answer["auth"], SOCKET, channel, data)
    for socket_id, name in (("1234.1235", channel), (SOCKET, f"{channel}a")):
        with pytest.raises(Unauthorized):
            check_channel(app, answer["auth"], socket_id, name, data)


def test_users_sign_in() -> None:
    """By their primary key (vector 3), and the server accepts it."""
    answer = json.loads(post(user_auth, {"socket_id": SOCKET}, Person(12345)).content)
    signature = "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba"
    assert answer == {"auth": f"{ONE['KEY']}:{signature}", "user_data": '{"id":"12345"}'}
    check_user(get_settings().apps[0], answer["auth"], SOCKET, answer["user_data"])


def test_a_project_adds_information_and_a_watchlist() -> None:
    """They are encoded like the data of events."""
    user_authenticator(lambda user: {"user_info": {"d": date(2026, 3, 1)}, "watchlist": [1, "é"]})
    answer = json.loads(post(user_auth, {"socket_id": SOCKET}, Person()).content)
    assert answer["user_data"] == (
        '{"id":"7","user_info":{"d":"2026-03-01"},"watchlist":["1","é"]}'
    )
    check_user(get_settings().apps[0], answer["auth"], SOCKET, answer["user_data"])


# Requests


def test_json_and_multipart_forms_are_accepted() -> None:
    """As pusher-js can send JSON, and a script its FormData."""
    allow(guests=True)
    body = {"socket_id": SOCKET, "channel_name": "private-foobar"}
    for content_type in ("application/json", "application/json; charset=utf-8"):
        assert post(auth, json.dumps(body).encode(), None, content_type).status_code == 200
    assert Client().post("/broadcasting/auth", body).status_code == 200


@pytest.mark.parametrize("view", [auth, user_auth])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_post_is_answered(view: Callable[..., HttpResponse], method: str) -> None:
    """A link must not cause a signature, and a cache must not keep it."""
    response = view(RequestFactory().generic(method, "/"))
    assert (response.status_code, response["Allow"]) == (405, "POST")
    assert response["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "socket_id",
    [
        "",
        "1",
        "1.",
        ".1",
        "1.2.3",
        "1.2\n",
        " 1.2",
        "1.2:private-x",
        "a.b",
        "1" * 21 + ".1",
        "１.２",
    ],
)
@pytest.mark.parametrize("view", [auth, user_auth])
def test_an_invalid_socket_id_is_not_signed(
    view: Callable[..., HttpResponse], socket_id: str
) -> None:
    """With a colon or a line break, the signature could be one for something else."""
    allow()
    body = {"socket_id": socket_id, "channel_name": "private-x"}
    for response in (post(view, body, Person()), post_json(view, body, Person())):
        assert response.status_code == 400
        assert json.loads(response.content) == {"error": "socket_id is not valid"}


@pytest.mark.parametrize(
    ("channel", "error"),
    [
        ("", "channel_name is not valid"),
        ("private-x\n", "channel_name is not valid"),
        ("private-x:y", "channel_name is not valid"),
        ("private-ж", "channel_name is not valid"),
        ("#server-to-user-7", "channel_name is not valid"),
        ("x" * 201, "channel_name is not valid"),
        ("x", "Forbidden"),
        ("cache-x", "Forbidden"),
        ("Private-x", "Forbidden"),
    ],
)
def test_an_invalid_or_public_name_is_not_signed(channel: str, error: str) -> None:
    """Nor is the channel of a user, who must sign in."""
    allow()
    assert join(channel) == {"error": error}


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"socket_id": SOCKET},
        {"channel_name": "private-x"},
        {"socket_id": None, "channel_name": "private-x"},
        {"socket_id": 1234.1234, "channel_name": "private-x"},
        {"socket_id": [SOCKET], "channel_name": "private-x"},
        {"socket_id": SOCKET, "channel_name": 7},
        {"socket_id": SOCKET, "channel_name": {"private-x": 1}},
        {"socket_id": SOCKET, "channel_name": []},
        {"socket_id": SOCKET, "channel_name": ["private-x", 7]},
        {"socket_id": SOCKET, "channel_name": [["private-x"]]},
        {"socket_id": SOCKET, "channel_name": ["private-x"] * 101},
        [],
        "private-x",
        None,
        7,
    ],
    ids=lambda value: repr(value)[:60],
)
def test_wrong_types_are_400(value: object) -> None:
    """With an error."""
    allow()
    response = post_json(auth, value, Person())
    assert response.status_code == 400
    assert set(json.loads(response.content)) == {"error"}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b'{"socket_id": NaN}', "application/json"),
        (b"\xff\xfe\xfd", "application/json"),
        (b"[" * 60_000, "application/json"),
        (b"7" * 60_000, "application/json"),
        (b"", ""),
        (b"socket_id=1.2&channel_name=private-x", "text/plain"),
        (b"--x\r\n", "multipart/form-data"),
        (b"--x\r\n", "multipart/form-data; boundary=\xe9"),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x"),
        (b"socket_id=1.2", "application/x-www-form-urlencoded; charset=utf-16"),
        (b"--x--\r\n", "multipart/form-data; boundary=x; charset=zip"),
        (b"&".join(b"%d=" % n for n in range(1_001)), "application/x-www-form-urlencoded"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_body_that_cannot_be_read_is_400(body: bytes, content_type: str) -> None:
    """Whatever its content type says."""
    response = post(auth, body, Person(), content_type)
    assert response.status_code == 400
    assert set(json.loads(response.content)) == {"error"}


def test_a_body_that_is_too_large_is_413() -> None:
    """By its Content-Length, and by its size."""
    body = b"socket_id=1.2&channel_name=private-x&more=" + b"x" * MAX_BODY
    chunked = AsyncRequestFactory().generic(
        "POST", "/", body, content_type="application/x-www-form-urlencoded"
    )
    del chunked.META["CONTENT_LENGTH"]
    for response in (
        post(auth, body, Person()),
        post(auth, body, Person(), CONTENT_LENGTH="9" * 5_000),
        auth(chunked),
    ):
        assert response.status_code == 413
        assert json.loads(response.content) == {"error": "Payload too large"}
    assert post(auth, body, Person(), CONTENT_LENGTH="much").status_code == 400
    assert post(auth, body, Person(), CONTENT_LENGTH="-1").status_code == 400


def test_the_projects_own_limit_counts_too(settings: Settings) -> None:
    """If it is lower."""
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    assert post(auth, {"socket_id": SOCKET}, Person()).status_code == 413


# Several channels


BATCH = ["presence-open.1", "private-shut.1", "private-none", "no good", "private-bug"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda: post_json(auth, {"socket_id": SOCKET, "channel_name": BATCH}, Person()),
        lambda: post(auth, {"socket_id": SOCKET, "channel_name[]": BATCH}, Person()),
        lambda: post(
            auth,
            {"socket_id": SOCKET, **{f"channel_name[{i}]": c for i, c in enumerate(BATCH)}},
            Person(),
        ),
    ],
    ids=["json", "list", "indexes"],
)
def test_several_channels_are_answered_one_by_one(
    ask: Callable[[], HttpResponse], caplog: pytest.LogCaptureFixture
) -> None:
    """Each as it would be alone; an error of one does not affect the others."""
    allow("open.{room}", {"name": "A"})
    allow("shut.{room}", False)

    channel_authorizer("bug", lambda user: 1 / 0)
    response = ask()
    assert response.status_code == 200
    assert json.loads(response.content) == {
        "presence-open.1": {"status": 200, "data": join("presence-open.1")},
        "private-shut.1": {"status": 403, "error": "Forbidden"},
        "private-none": {"status": 403, "error": "Forbidden"},
        "no good": {"status": 400, "error": "channel_name is not valid"},
        "private-bug": {"status": 500, "error": "Internal Server Error"},
    }
    assert ("ERROR", "The rule for private-bug failed") in refusals(caplog)


def test_a_list_has_one_to_a_hundred_names() -> None:
    """A list of one name is answered as a list."""
    allow()
    (answer,) = json.loads(
        post(auth, {"socket_id": SOCKET, "channel_name[]": "private-x"}, Person()).content
    ).items()
    assert answer == ("private-x", {"status": 200, "data": join("private-x")})
    names = [f"private-{'x' * 189}{i:03}" for i in range(100)]
    fields = {f"channel_name[{i}]": name for i, name in enumerate(names)}
    answers = json.loads(post(auth, {"socket_id": SOCKET, **fields}, Person()).content)
    assert list(answers) == names


def test_a_list_has_one_guest() -> None:
    """Who asks is found once."""
    asked = []

    @channel_authorizer("{room}", guests=True)
    def seen(user: Any, room: str) -> bool:
        asked.append(user)
        return True

    post(auth, {"socket_id": SOCKET, "channel_name[]": ["private-x", "private-y"]})
    assert len(asked) == 2
    assert asked[0] is asked[1]


def test_an_exception_of_a_rule_is_raised() -> None:
    """For a single channel, as in any view."""
    channel_authorizer("bug", lambda user: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        join("private-bug")


# Refusals


def test_the_reason_of_a_refusal_goes_to_the_log_only(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody learns which rooms exist."""
    allow("chat.{room}", False)
    for channel in ("private-chat.1", "private-other"):
        response = post(auth, {"socket_id": SOCKET, "channel_name": channel}, Person())
        assert response.status_code == 403
        assert response["Content-Type"] == "application/json"
        assert response["Cache-Control"] == "no-store"
        assert json.loads(response.content) == {"error": "Forbidden"}
    (first, second) = refusals(caplog)
    assert first[0] == second[0] == "WARNING"
    assert first[1].startswith("Refused user 7 on private-chat.1: rule chat.{room} of tests.")
    assert first[1].endswith(" returned False")
    assert second[1].startswith("Refused user 7 on private-other: no rule matches 'other'")


def test_with_debug_the_response_holds_the_reason(settings: Settings) -> None:
    """The browser's tools show it to the developer."""
    settings.DEBUG = True
    allow("shut", False)
    allow("users")
    cases = {
        "private-none": "no rule matches 'none'; registered: shut, users",
        "private-shut": "returned False",
        "public": "needs no signature",
    }
    for channel, reason in cases.items():
        answer = join(channel)
        assert answer["error"] == "Forbidden"
        assert reason in answer["reason"]
    response = post(auth, {"socket_id": SOCKET, "channel_name": "private-users"})
    assert "guests are not admitted by" in json.loads(response.content)["reason"]
    response = post(auth, {"socket_id": SOCKET, "channel_name[]": "private-none"}, Person())
    assert "no rule matches" in json.loads(response.content)["private-none"]["reason"]
    assert (
        "nobody is logged in" in json.loads(post(user_auth, {"socket_id": "1.2"}).content)["reason"]
    )


def test_a_refusal_is_one_printable_line(caplog: pytest.LogCaptureFixture) -> None:
    """Without line breaks, colours or text from right to left."""

    @channel_authorizer("chat")
    def chat(user: object) -> bool:
        raise PermissionDenied("a\nb\r\x1b[31m\u202e\ud800" + "x" * 1_000)

    assert join("private-chat", Person("7\n8")) == {"error": "Forbidden"}
    ((_, text),) = refusals(caplog)
    assert text.startswith("Refused user 7\\n8 on private-chat: ")
    assert "a\\nb\\r\\x1b[31m\\u202e\\ud800xxx" in text
    assert text.isprintable()
    assert len(text) < 300


@pytest.mark.parametrize(
    ("info", "text"),
    [
        ({"name": "x" * 1_020}, "user_info may have 1024 bytes"),
        ({"name": "é" * 510}, "user_info may have 1024 bytes"),
        ({"name": "\ud800"}, "surrogate"),
        ({"name": float("nan")}, "cannot be sent"),
        ({"name": object()}, "is of type object"),
        ({"user": User(username="a")}, "auth.User"),
        ({(1, 2): "x"}, "tuple"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_user_info_that_cannot_be_sent_is_refused(
    info: object, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has an error. On private channels it is not sent."""
    allow(result=info)
    assert join("presence-x") == {"error": "Forbidden"}
    ((level, logged),) = refusals(caplog)
    assert level == "ERROR"
    assert text in logged
    assert "auth" in join("private-x")


def test_the_largest_user_info_is_accepted() -> None:
    """The server counts the same bytes."""
    allow(result={"n": "x" * (1_024 - len('{"n":""}'))})
    assert "auth" in join("presence-x")


@pytest.mark.parametrize("pk", ["x" * 129, "\ud800"], ids=["long", "surrogate"])
def test_a_primary_key_that_the_protocol_does_not_allow_is_refused(
    pk: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has an error."""
    allow()
    assert join("presence-x", Person(pk)) == {"error": "Forbidden"}
    assert refusals(caplog)[-1][0] == "ERROR"
    allow()
    assert "auth" in join("presence-x", Person("x" * 128))


def test_an_encrypted_channel_needs_a_key(caplog: pytest.LogCaptureFixture) -> None:
    """The log has an error."""
    allow()
    assert join("private-encrypted-x") == {"error": "Forbidden"}
    ((level, text),) = refusals(caplog)
    assert (level, "has no master key" in text) == ("ERROR", True)


def test_visitors_do_not_sign_in(caplog: pytest.LogCaptureFixture) -> None:
    """Without a rule that admits guests."""
    response = post(user_auth, {"socket_id": SOCKET})
    assert response.status_code == 403
    assert json.loads(response.content) == {"error": "Forbidden"}
    assert refusals(caplog)[0][1].startswith("Refused a visitor to sign in: nobody is logged in")


def test_the_limit_on_user_info_holds_for_signing_in(caplog: pytest.LogCaptureFixture) -> None:
    """The log has an error."""
    user_authenticator(lambda user: {"user_info": {"n": "x" * 1_020}})
    assert post(user_auth, {"socket_id": SOCKET}, Person()).status_code == 403
    ((level, text),) = refusals(caplog)
    assert (level, "user_info may have 1024 bytes" in text) == ("ERROR", True)


def refuse(request: HttpRequest) -> None:
    raise ValueError("bad token")


def test_a_bad_token_is_403(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """For one channel, for several, and to sign in."""
    allow()
    settings.BROADCASTING = {"APPS": [ONE], "AUTHENTICATORS": [f"{__name__}.refuse"]}
    for view, body in (
        (auth, {"channel_name": "private-x"}),
        (auth, {"channel_name[]": "private-x"}),
        (user_auth, {}),
    ):
        response = post(view, {"socket_id": SOCKET, **body}, Person())
        assert (response.status_code, response.content) == (403, b'{"error": "Forbidden"}')
    assert f"{__name__}.refuse raised ValueError: bad token" in refusals(caplog)[0][1]


# Guests


def test_a_guest_is_known_by_the_cookie() -> None:
    """Without the middleware, the same member next time."""
    allow(guests=True)
    first = post(auth, {"socket_id": SOCKET, "channel_name": "presence-x"})
    cookie = first.cookies[COOKIE_NAME].value
    member = json.loads(json.loads(first.content)["channel_data"])["user_id"]
    assert is_guest_id(member)
    request = RequestFactory().post("/", {"socket_id": SOCKET, "channel_name": "presence-x"})
    request.COOKIES[COOKIE_NAME] = cookie
    second = auth(request)
    assert json.loads(second.content) == json.loads(first.content)
    assert not second.cookies


def test_a_guest_signs_in_where_the_project_admits_guests() -> None:
    """By the id in the cookie."""
    user_authenticator(lambda user: {"user_info": {"guest": True}}, guests=True)
    response = post(user_auth, {"socket_id": SOCKET})
    user_data = json.loads(json.loads(response.content)["user_data"])
    assert user_data["id"] in response.cookies[COOKIE_NAME].value


def test_a_refused_visitor_gets_no_cookie() -> None:
    """Guests are made by rules that admit them."""
    allow()
    assert not post(auth, {"socket_id": SOCKET, "channel_name": "private-x"}).cookies


# Below a server


@pytest.mark.django_db
def test_a_logged_in_user_joins_over_wsgi() -> None:
    """By the session."""
    user = UserFactory.create()
    channel_authorizer("user.{id:int}", lambda user, id: user.pk == id)
    client = Client()
    client.force_login(user)
    url = "/broadcasting/auth"
    body = {"socket_id": SOCKET, "channel_name": f"private-user.{user.pk}"}
    assert client.post(url, body).status_code == 200
    body["channel_name"] = f"private-user.{user.pk + 1}"
    assert client.post(url, body).status_code == 403
    answer = client.post("/broadcasting/user-auth", {"socket_id": SOCKET}).json()
    assert json.loads(answer["user_data"]) == {"id": str(user.pk)}


@pytest.mark.django_db(transaction=True)
async def test_a_logged_in_user_joins_over_asgi() -> None:
    """An async rule gets models, too."""
    user = await User.objects.acreate(username="a")

    @channel_authorizer("user.{person}")
    async def own(user: User, person: User) -> dict[str, object]:
        found = await User.objects.aget(pk=person.pk)
        return {"name": found.username} if found == user else {}

    client = AsyncClient()
    await client.aforce_login(user)
    body = {"socket_id": SOCKET, "channel_name": f"presence-user.{user.pk}"}
    response = await client.post("/broadcasting/auth", body)
    data = json.loads(response.json()["channel_data"])
    assert data == {"user_id": str(user.pk), "user_info": {"name": "a"}}


# Random requests


_TEXT = st.text(max_size=30)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=5,
)
_SOCKETS = st.just(SOCKET) | _JSON
_NAMES = st.sampled_from(["private-x", "presence-y", "private-encrypted-z", "private-", "x\n"])
_FIELDS = st.fixed_dictionaries(
    {}, optional={"socket_id": _SOCKETS, "channel_name": _NAMES | st.lists(_NAMES) | _JSON}
)


def check_answer(response: HttpResponse) -> None:
    """Check the answer to any request."""
    assert response.status_code in {200, 400, 403, 413}
    assert response["Content-Type"] == "application/json"
    assert isinstance(json.loads(response.content), dict)


class TestFuzz:
    """No request raises an exception, and nothing invalid is signed."""

    @pytest.fixture(autouse=True)
    def _quiet(self) -> Iterator[None]:
        logger = logging.getLogger("broadcasting.auth")
        logger.disabled = True
        yield
        logger.disabled = False

    @given(
        st.binary(max_size=200),
        st.sampled_from(
            [
                "application/json",
                "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=x",
                "text/plain",
            ]
        )
        | st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40),
    )
    def test_bytes(self, body: bytes, content_type: str) -> None:
        """Of any content type."""
        for view in (auth, user_auth):
            check_answer(post(view, body, Person(), content_type))

    @given(_FIELDS | _JSON)
    def test_json(self, value: Any) -> None:
        """Of any shape, and of any fields."""
        channel_authorizer("{all:path}", everybody)
        body = json.dumps(value).encode()
        for view in (auth, user_auth):
            response = post(view, body, Person(), "application/json")
            check_answer(response)
            if b'"auth"' in response.content and isinstance(value, dict):
                assert is_socket_id(value["socket_id"])
                if view is auth and isinstance(value["channel_name"], str):
                    assert is_channel_name(value["channel_name"])


def everybody(user: object, all: str) -> dict[str, str]:
    return {"all": all}
