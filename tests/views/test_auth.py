"""The auth endpoints: what they sign, what they refuse, and what they reveal."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory
from django.urls import path
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from broadcasting import channel_authorizer, user_authenticator
from broadcasting.authorization import rules as authorization
from broadcasting.conf import get_settings
from broadcasting.guests import COOKIE_NAME, is_guest_id
from broadcasting.protocol.names import is_channel_name, is_socket_id
from broadcasting.protocol.signatures import check_channel, check_user
from broadcasting.views.auth import MAX_BODY, auth, user_auth
from whik.factories import UserFactory

# Pairs 1 and 2 of the protocol's test vectors.
ONE = {"ID": "3", "KEY": "278d425bdf160c739803", "SECRET": "7ad3773142a6692b25b8"}
TWO = {
    "ID": "4242",
    "KEY": "whik-key",
    "SECRET": "whik-secret-ż",
    "ENCRYPTION_MASTER_KEY_BASE64": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
}
SOCKET = "1234.1234"
FORM = "application/x-www-form-urlencoded"
FORBIDDEN = {"error": "Forbidden"}

View = Callable[..., HttpResponse]

urlpatterns = [
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
    """Have no rules, and the applications of the vectors."""
    monkeypatch.setattr(authorization, "_rules", [])
    monkeypatch.setattr(authorization, "_sign_in_handlers", [])
    settings.BROADCASTING = {"APPS": [ONE, TWO]}


def post(
    view: View, body: Any = b"", user: Any = None, content_type: str = FORM, **meta: Any
) -> HttpResponse:
    """Post to a view without a cookie, as a user: a form, as bytes or as a dictionary."""
    data = urlencode(body, doseq=True).encode() if isinstance(body, dict) else body
    request = RequestFactory().generic("POST", "/", data, content_type, **meta)
    request.user = user or AnonymousUser()
    return view(request)


def post_json(view: View, value: object, user: Any = None) -> HttpResponse:
    """Post JSON to a view."""
    return post(view, json.dumps(value).encode(), user, "application/json")


def join(channel: object, user: Any = None) -> Any:
    """Return the answer to a form for one channel."""
    response = post(auth, {"socket_id": SOCKET, "channel_name": channel}, user or Person())
    return json.loads(response.content)


def sign_in(user: Any = None) -> Any:
    """Return the answer to a user who signs in."""
    return json.loads(post(user_auth, {"socket_id": SOCKET}, user).content)


def refusals(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return the levels and texts that the endpoints have logged."""
    records = [record for record in caplog.records if record.name == "broadcasting.auth"]
    return [(record.levelname, record.getMessage()) for record in records]


def allow(pattern: str = "{all:path}", result: object = True, **options: Any) -> None:
    """Admit everybody to the channels of a pattern."""
    channel_authorizer(pattern, lambda user, **names: result, **options)


# Signatures


def test_a_private_channel_is_answered_with_its_signature() -> None:
    """A dictionary of the rule is not sent (vector 1)."""
    allow(result={"name": "A"})
    signature = "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
    assert join("private-foobar") == {"auth": f"{ONE['KEY']}:{signature}"}


@pytest.mark.parametrize("kind", ["presence-", "presence-cache-"])
@pytest.mark.parametrize(
    ("pk", "result", "expected"),
    [
        (10, {"name": "A"}, '{"user_id":"10","user_info":{"name":"A"}}'),
        (7, True, '{"user_id":"7"}'),
        (7, UserFactory.build(), '{"user_id":"7"}'),
        (
            "é",
            {"n": "żółw", "d": date(2026, 3, 1), "t": datetime(2026, 3, 1, tzinfo=UTC)},
            '{"user_id":"é","user_info":{"n":"żółw","d":"2026-03-01",'
            '"t":"2026-03-01T00:00:00.000000Z"}}',
        ),
    ],
)
def test_a_presence_channel_is_answered_with_the_member(
    kind: str, pk: object, result: object, expected: str
) -> None:
    """The id is text, and the information is encoded like the data of events."""
    allow(result=result)
    answer = join(f"{kind}foobar", Person(pk))
    assert answer["channel_data"] == expected
    app = get_settings().apps[0]
    check_channel(app, answer["auth"], SOCKET, f"{kind}foobar", answer["channel_data"])


@pytest.mark.urls(__name__)
def test_a_route_may_name_another_application() -> None:
    """Its key signs, and its secret encrypts (vectors 5 and 12)."""
    allow(guests=True)
    body = {"socket_id": "5.7", "channel_name": "private-encrypted-a@b=c,d.e;f"}
    signature = "36f6cce232214ccd6f4a618deb963f0b029ee74983149c68e3f78935888388ee"
    assert Client().post("/second", body).json()["auth"] == f"whik-key:{signature}"
    body["channel_name"] = "private-encrypted-vec"
    answer = Client().post("/second", body).json()
    assert answer["shared_secret"] == "BEoig3XgBz8zTfKJIjtlKAnEr/S5ffHrbQfZhnIrU6M="
    assert set(answer) == {"auth", "shared_secret"}
    user_authenticator(lambda user: {"id": "u-1", "watchlist": ["u-2"]}, guests=True)
    answer = Client().post("/second/user", {"socket_id": "5.7"}).json()
    assert json.loads(answer["user_data"]) == {"id": "u-1", "watchlist": ["u-2"]}
    check_user(get_settings().apps[1], answer["auth"], "5.7", answer["user_data"])


def test_an_application_must_exist_and_be_enabled(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """An unknown one in a route is a mistake."""
    allow()
    settings.BROADCASTING = {"APPS": [{**ONE, "ENABLED": False}]}
    assert join("private-x") == FORBIDDEN
    assert "Refused POST /: application '3'" in refusals(caplog)[0][1]
    request = RequestFactory().post("/", {"socket_id": SOCKET, "channel_name": "private-x"})
    with pytest.raises(ImproperlyConfigured, match="names the application '5'"):
        auth(request, app_id="5")


def test_users_sign_in() -> None:
    """By their primary key (vector 3), with what the project adds."""
    signature = "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba"
    user_data = '{"id":"12345"}'
    expected = {"auth": f"{ONE['KEY']}:{signature}", "user_data": user_data}
    assert sign_in(Person(12345)) == expected
    user_authenticator(lambda user: {"user_info": {"d": date(2026, 3, 1)}, "watchlist": [1, "é"]})
    answer = sign_in(Person())
    user_data = '{"id":"7","user_info":{"d":"2026-03-01"},"watchlist":["1","é"]}'
    assert answer["user_data"] == user_data
    check_user(get_settings().apps[0], answer["auth"], SOCKET, user_data)


# Requests


def test_json_and_multipart_forms_are_accepted() -> None:
    """As pusher-js can send JSON, and a script its FormData."""
    allow(guests=True)
    body = {"socket_id": SOCKET, "channel_name": "private-foobar"}
    for content_type in ("application/json", "application/json; charset=utf-8"):
        assert post(auth, json.dumps(body).encode(), None, content_type).status_code == 200
    assert Client().post("/broadcasting/auth", body).status_code == 200


@pytest.mark.parametrize("view", [auth, user_auth])
def test_only_post_is_allowed(view: View) -> None:
    """A link must not cause a signature, and a cache must not keep it."""
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
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
def test_an_invalid_socket_id_is_not_signed(view: View, socket_id: str) -> None:
    """With a colon or a line break, the signature could be one for something else."""
    allow()
    body = {"socket_id": socket_id, "channel_name": "private-x"}
    for response in (post(view, body, Person()), post_json(view, body, Person())):
        assert response.status_code == 400
        assert json.loads(response.content) == {"error": "socket_id is not valid"}


def test_an_invalid_or_public_name_is_not_signed() -> None:
    """Nor is the channel of a user, who must sign in."""
    allow()
    for channel in ("", "private-x\n", "private-x:y", "private-ж", "#server-to-user-7", "x" * 201):
        assert join(channel) == {"error": "channel_name is not valid"}
    for channel in ("x", "cache-x", "Private-x"):
        assert join(channel) == FORBIDDEN


@pytest.mark.parametrize(
    ("content_type", "bodies"),
    [
        ("application/json", [b"", b"{", b'{"socket_id": NaN}', b"\xff", b"[" * 60_000]),
        ("application/json", [b"7" * 60_000, b"[]", b'"private-x"', b"null", b"7", b"{}"]),
        ("", [b""]),
        ("text/plain", [b"socket_id=1.2&channel_name=private-x"]),
        ("multipart/form-data", [b"--x\r\n"]),
        ("multipart/form-data; boundary=\xe9", [b"--x\r\n"]),
        ("multipart/form-data; boundary=x", [b"--x\r\nbroken"]),
        ("multipart/form-data; boundary=x; charset=zip", [b"--x--\r\n"]),
        (f"{FORM}; charset=utf-16", [b"socket_id=1.2"]),
        (FORM, [b"&".join(b"%d=" % n for n in range(1_001))]),
    ],
)
def test_a_body_that_cannot_be_read_is_400(content_type: str, bodies: list[bytes]) -> None:
    """Whatever its content type says. Nor may a field have the wrong type."""
    allow()
    wrong = [
        {"socket_id": socket_id, "channel_name": "private-x"} for socket_id in (None, 1.2, [SOCKET])
    ] + [
        {"socket_id": SOCKET, "channel_name": names}
        for names in (None, 7, {"x": 1}, [], ["private-x", 7], [["x"]], ["private-x"] * 101)
    ]
    for response in (
        *(post(auth, body, Person(), content_type) for body in bodies),
        *(post_json(auth, value, Person()) for value in wrong),
    ):
        assert response.status_code == 400
        assert set(json.loads(response.content)) == {"error"}


def test_a_body_that_is_too_large_is_413(settings: Settings) -> None:
    """By its Content-Length and by its size. The project's own limit may be lower."""
    body = b"socket_id=1.2&channel_name=private-x&more=" + b"x" * MAX_BODY
    chunked = AsyncRequestFactory().generic("POST", "/", body, content_type=FORM)
    del chunked.META["CONTENT_LENGTH"]
    for response in (
        post(auth, body, Person()),
        post(auth, body, Person(), CONTENT_LENGTH="9" * 5_000),
        auth(chunked),
    ):
        assert response.status_code == 413
        assert json.loads(response.content) == {"error": "Payload too large"}
    for length in ("much", "-1"):
        assert post(auth, body, Person(), CONTENT_LENGTH=length).status_code == 400
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    assert post(auth, {"socket_id": SOCKET}, Person()).status_code == 413


# Several channels

BATCH = ["presence-open.1", "private-shut.1", "private-none", "no good", "private-bug"]
INDEXED = {f"channel_name[{i}]": channel for i, channel in enumerate(BATCH)}


@pytest.mark.parametrize(
    "ask",
    [
        lambda: post_json(auth, {"socket_id": SOCKET, "channel_name": BATCH}, Person()),
        lambda: post(auth, {"socket_id": SOCKET, "channel_name[]": BATCH}, Person()),
        lambda: post(auth, {"socket_id": SOCKET, **INDEXED}, Person()),
    ],
    ids=["json", "list", "indexes"],
)
def test_several_channels_are_answered_one_by_one(
    ask: Callable[[], HttpResponse], caplog: pytest.LogCaptureFixture
) -> None:
    """Each as it would be alone; an exception of one does not affect the others."""
    allow("open.{room}", {"name": "A"})
    allow("shut.{room}", False)
    channel_authorizer("bug", lambda user: 1 / 0)
    response = ask()
    assert response.status_code == 200
    assert json.loads(response.content) == {
        "presence-open.1": {"status": 200, "data": join("presence-open.1")},
        "private-shut.1": {"status": 403, **FORBIDDEN},
        "private-none": {"status": 403, **FORBIDDEN},
        "no good": {"status": 400, "error": "channel_name is not valid"},
        "private-bug": {"status": 500, "error": "Internal Server Error"},
    }
    assert ("ERROR", "The rule for private-bug failed") in refusals(caplog)
    with pytest.raises(ZeroDivisionError):
        join("private-bug")


def test_a_list_has_one_to_a_hundred_names() -> None:
    """All for one visitor, who is found once."""
    visitors = []

    @channel_authorizer("{room}", guests=True)
    def note(user: object, room: str) -> bool:
        visitors.append(user)
        return True

    names = [f"private-{'x' * 189}{i:03}" for i in range(100)]
    for listed in (names[:1], names):
        answers = json.loads(post(auth, {"socket_id": SOCKET, "channel_name[]": listed}).content)
        assert list(answers) == listed
        assert {answer["status"] for answer in answers.values()} == {200}
    assert len({id(visitor) for visitor in visitors[1:]}) == 1


# Refusals


def test_the_reason_of_a_refusal_goes_to_the_log_only(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody learns which rooms exist. With DEBUG, the response holds it, too."""
    allow("chat.{room}", False)
    cases = {
        "private-chat.1": "rule chat.{room} of tests.",
        "private-other": "no rule matches 'other'; registered: chat.{room}",
        "public": "needs no signature",
    }
    for channel in cases:
        response = post(auth, {"socket_id": SOCKET, "channel_name": channel}, Person())
        assert (response.status_code, response["Content-Type"]) == (403, "application/json")
        assert response["Cache-Control"] == "no-store"
        assert json.loads(response.content) == FORBIDDEN
    assert sign_in() == FORBIDDEN
    for (channel, reason), (level, text) in zip(cases.items(), refusals(caplog), strict=False):
        assert level == "WARNING"
        assert text.startswith(f"Refused user 7 on {channel}: ")
        assert reason in text
    assert refusals(caplog)[-1][1].startswith("Refused a visitor to sign in: nobody is logged in")
    settings.DEBUG = True
    for channel, reason in cases.items():
        assert reason in join(channel)["reason"]
    assert "nobody is logged in" in sign_in()["reason"]


def test_a_refusal_is_one_printable_line(caplog: pytest.LogCaptureFixture) -> None:
    """Without line breaks, colours or text from right to left."""

    def chat(user: object) -> bool:
        raise PermissionDenied("a\nb\r\x1b[31m\u202e\ud800" + "x" * 1_000)

    channel_authorizer("chat", chat)
    assert join("private-chat", Person("7\n8")) == FORBIDDEN
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
    user_authenticator(lambda user: {"user_info": info})
    assert join("presence-x") == sign_in(Person()) == FORBIDDEN
    for level, logged in refusals(caplog):
        assert (level, text in logged) == ("ERROR", True)
    assert "auth" in join("private-x")


@pytest.mark.parametrize(
    ("channel", "pk"),
    [
        ("presence-x", "x" * 129),
        ("presence-x", "\ud800"),
        ("private-encrypted-x", 7),  # The application has no master key.
    ],
)
def test_what_the_protocol_does_not_allow_is_refused(
    channel: str, pk: object, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has an error. The largest values are accepted."""
    allow(result={"n": "x" * (1_024 - len('{"n":""}'))})
    assert join(channel, Person(pk)) == FORBIDDEN
    assert refusals(caplog)[-1][0] == "ERROR"
    assert "auth" in join("presence-x", Person("x" * 128))


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
        assert (response.status_code, json.loads(response.content)) == (403, FORBIDDEN)
    assert f"{__name__}.refuse raised ValueError: bad token" in refusals(caplog)[0][1]


# Guests


def test_a_guest_is_known_by_the_cookie() -> None:
    """Without the middleware. A visitor who is refused gets no cookie."""
    body = {"socket_id": SOCKET, "channel_name": "presence-x"}
    allow("y")
    assert not post(auth, {**body, "channel_name": "presence-y"}).cookies
    allow(guests=True)
    first = post(auth, body)
    assert is_guest_id(json.loads(json.loads(first.content)["channel_data"])["user_id"])
    request = RequestFactory().post("/", body)
    request.COOKIES[COOKIE_NAME] = first.cookies[COOKIE_NAME].value
    second = auth(request)
    assert json.loads(second.content) == json.loads(first.content)
    assert not second.cookies
    user_authenticator(lambda user: {"user_info": {"guest": True}}, guests=True)
    response = post(user_auth, {"socket_id": SOCKET})
    user_data = json.loads(json.loads(response.content)["user_data"])
    assert user_data["id"] in response.cookies[COOKIE_NAME].value


# Below a server


@pytest.mark.django_db
def test_a_logged_in_user_joins_over_wsgi() -> None:
    """By the session."""
    user = UserFactory.create()
    channel_authorizer("user.{id:int}", lambda user, id: user.pk == id)
    client = Client()
    client.force_login(user)
    for pk, status in ((user.pk, 200), (user.pk + 1, 403)):
        body = {"socket_id": SOCKET, "channel_name": f"private-user.{pk}"}
        assert client.post("/broadcasting/auth", body).status_code == status
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
    st.none() | st.booleans() | st.floats() | _TEXT | st.sampled_from([SOCKET, "private-x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=5,
)
_FIELDS = st.fixed_dictionaries({}, optional={"socket_id": _JSON, "channel_name": _JSON})
_TYPES = st.sampled_from(["application/json", FORM, "multipart/form-data; boundary=x"]) | st.text(
    st.characters(min_codepoint=32, max_codepoint=255), max_size=40
)


def everybody(user: object, all: str) -> dict[str, str]:
    return {"all": all}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | _FIELDS.map(lambda value: json.dumps(value).encode()), _TYPES)
def test_no_request_raises_an_exception(body: bytes, content_type: str) -> None:
    """Of any body and content type; and nothing invalid is signed."""
    channel_authorizer("{all:path}", everybody)
    for view in (auth, user_auth):
        response = post(view, body, Person(), content_type)
        assert response.status_code in {200, 400, 403, 413}
        answer = json.loads(response.content)
        if "auth" in answer and content_type == "application/json":
            fields = json.loads(body)
            assert is_socket_id(fields["socket_id"])
            assert view is user_auth or is_channel_name(fields["channel_name"])
