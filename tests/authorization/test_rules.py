"""Who may join a channel, and as whom a socket signs in."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from pytest_django import Settings

from broadcasting.authorization import rules as authorization
from broadcasting.authorization.calling import AuthorizerError, Denied
from broadcasting.authorization.rules import (
    Grant,
    SignIn,
    authenticate,
    authorize,
    channel_authorizer,
    rules,
    sign_in,
    user_authenticator,
)
from broadcasting.conf import get_authenticators
from broadcasting.guests import Guest, get_guest, remember_guest

REQUEST = HttpRequest()


class Person:
    """A user without a database."""

    is_authenticated = True

    def __init__(self, pk: object = 7) -> None:
        self.pk = pk


@pytest.fixture(autouse=True)
def _no_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorization, "_rules", [])
    monkeypatch.setattr(authorization, "_sign_in_handlers", [])


def join(channel: str, user: Any = None) -> Grant:
    """Return who is let into the channel."""
    return authorize(HttpRequest(), user, channel)


# Rules


def test_a_registered_function_or_class_stays_what_it_is() -> None:
    """With or without a decorator, also for several patterns."""

    @channel_authorizer("chat.{room}")
    @channel_authorizer("lobby.{room}")
    def chat(user: object, room: str) -> bool:
        return room == "7"

    class Chat:
        def join(self, user: object, room: str) -> bool:
            return chat(user, room)

    assert channel_authorizer("room.{room}", Chat, guests=True) is Chat
    assert chat(None, "7") is True
    name = f"{__name__}.{chat.__qualname__}"
    found = [(rule.pattern.text, rule.handler.name, rule.handler.guests) for rule in rules()]
    assert found == [
        ("lobby.{room}", name, False),
        ("chat.{room}", name, False),
        ("room.{room}", f"{__name__}.{Chat.__qualname__}", True),
    ]
    assert join("private-room.7", Person()).user_id == "7"


def test_a_rule_is_registered_once() -> None:
    """A module may be run under two names. A caller cannot change the list."""

    def chat(user: object) -> bool:
        return True

    for _ in range(2):
        channel_authorizer("chat", chat)
    rules().clear()
    assert len(rules()) == 1


def test_an_invalid_rule_is_not_registered() -> None:
    """Because of its pattern or of its code."""
    for pattern, handler in (("chat:{room}", lambda user, room: 1), ("chat", lambda: 1)):
        with pytest.raises(ImproperlyConfigured):
            channel_authorizer(pattern, handler)
    assert rules() == []


def test_without_a_rule_everybody_is_refused() -> None:
    """The reason lists the rules that exist."""
    with pytest.raises(Denied, match=r"no rule matches 'chat.7'; registered: nothing"):
        join("private-chat.7", Person())
    channel_authorizer("chat.{room}.typing", lambda user, room: True)
    channel_authorizer("room.{room:int}", lambda user, room: True)
    for channel in ("private-chat.7", "private-room.x", "private-"):
        with pytest.raises(Denied, match=r"registered: chat\.{room}\.typing, room\.{room:int}$"):
            join(channel, Person())


def test_the_first_rule_that_matches_decides() -> None:
    """Also if it refuses and a later one would not."""
    channel_authorizer("chat.{room:int}", lambda user, room: False)
    channel_authorizer("chat.{room}", lambda user, room: True)
    with pytest.raises(Denied, match=r"rule chat\.{room:int} of .* returned False"):
        join("private-chat.7", Person())
    assert join("private-chat.lobby", Person()).user_id == "7"


# Users and guests


@pytest.mark.parametrize("pk", [None, "", f"guest-{'0' * 32}"])
def test_a_key_that_identifies_nobody_is_refused(pk: object) -> None:
    """All such users would be one member, or a guest."""
    channel_authorizer("chat", lambda user: True, guests=True)
    for ask in (lambda: join("presence-chat", Person(pk)), lambda: sign_in(REQUEST, Person(pk))):
        with pytest.raises(AuthorizerError, match="cannot identify a user"):
            ask()


def test_guests_are_refused_unless_the_rule_admits_them() -> None:
    """The rule is not called, and the visitor does not become a guest."""

    def chat(user: object) -> bool:
        raise AssertionError

    channel_authorizer("chat", chat)
    request, response = HttpRequest(), HttpResponse()
    for channel in ("private-chat", "private-other"):
        with pytest.raises(Denied, match=r"guests are not admitted by .*\.chat$|no rule"):
            authorize(request, None, channel)
    remember_guest(request, response)
    assert not response.cookies


def test_a_guest_is_passed_where_the_rule_admits_them() -> None:
    """With the id of the cookie; a user is still passed as a user."""
    channel_authorizer("chat", lambda user: {"who": str(user.pk)}, guests=True)
    request = HttpRequest()
    assert authorize(request, None, "presence-chat").user_id == get_guest(request).id
    assert authorize(request, Person(), "presence-chat").user_info == {"who": "7"}


# Authenticators


def by_header(request: HttpRequest) -> Person | None:
    token = request.headers.get("Authorization", "")
    if token == "Bearer bad":
        raise ValueError("no such token\n")
    return Person(token) if token else None


async def later(request: HttpRequest) -> Person | None:
    return Person("late") if request.META["QUERY_STRING"] == "late" else None


def a_pair(request: HttpRequest) -> tuple[Person, str]:
    return Person(), "token"


def nobody(request: HttpRequest) -> AnonymousUser:
    return AnonymousUser()


not_callable = 7


def request_of(user: Any = None, token: str = "", query: str = "") -> HttpRequest:
    """Return a request with a session's user and a token."""
    request = HttpRequest()
    if user is not None:
        request.user = user
    if token:
        request.META["HTTP_AUTHORIZATION"] = token
    request.META["QUERY_STRING"] = query
    return request


def key_of(request: HttpRequest) -> object:
    """Return the primary key of the user that is found."""
    user = authenticate(request)
    return None if user is None else user.pk


def name(*names: str) -> dict[str, list[str]]:
    """Return settings that name authenticators of this module."""
    return {"AUTHENTICATORS": [f"{__name__}.{one}" for one in names]}


def test_the_user_is_that_of_the_session_by_default() -> None:
    """`None` without one, also without Django's middleware."""
    assert key_of(request_of(Person(7))) == 7
    assert key_of(request_of(AnonymousUser())) is None
    assert key_of(request_of()) is None


def test_authenticators_are_called_in_order_before_the_session(settings: Settings) -> None:
    """The session is used where none of them returns a user."""
    settings.BROADCASTING = name("nobody", "later", "by_header")
    assert key_of(request_of(Person(7), token="Token t")) == "Token t"
    assert key_of(request_of(Person(7), token="Token t", query="late")) == "late"
    assert key_of(request_of(Person(7))) == 7
    assert key_of(request_of()) is None


@pytest.mark.parametrize(
    ("authenticator", "text"),
    [
        ("by_header", "ValueError: no such token"),
        ("a_pair", "AttributeError: 'tuple' object"),  # As of REST framework's classes.
    ],
)
def test_an_authenticator_that_fails_refuses(
    authenticator: str, text: str, settings: Settings
) -> None:
    """A session does not make up for a bad token."""
    settings.BROADCASTING = name(authenticator)
    with pytest.raises(Denied, match=rf"{authenticator} raised {text}"):
        authenticate(request_of(Person(7), token="Bearer bad"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([by_header], "must be a list"),
        ([f"{__name__}.missing"], "which cannot be imported"),
        ([f"{__name__}.not_callable"], "which is not a function"),
    ],
)
def test_invalid_authenticators_are_refused(value: object, text: str, settings: Settings) -> None:
    """The message names the setting."""
    settings.BROADCASTING = {"AUTHENTICATORS": value}
    with pytest.raises(ImproperlyConfigured, match=text) as caught:
        get_authenticators()
    assert 'BROADCASTING["AUTHENTICATORS"]' in str(caught.value)


# Signing in


def test_users_sign_in_by_their_key() -> None:
    """Without any code. Visitors cannot, nor can users with a key that names no channel."""
    assert sign_in(REQUEST, Person(7)) == SignIn("7", None, None, "the default")
    with pytest.raises(Denied, match="nobody is logged in"):
        sign_in(REQUEST, None)
    with pytest.raises(AuthorizerError, match=r"the primary key is 'a\+b'"):
        sign_in(REQUEST, Person("a+b"))


def test_a_project_may_add_information_and_a_watchlist() -> None:
    """Whatever type the ids are of."""

    @user_authenticator
    def who(user: Person, request: HttpRequest) -> dict[str, Any]:
        assert isinstance(request, HttpRequest)
        return {"user_info": {"name": "A"}, "watchlist": (n for n in (1, "2"))}

    name = f"{__name__}.{who.__qualname__}"
    expected = SignIn("7", {"name": "A"}, ["1", "2"], name)
    assert sign_in(REQUEST, Person(7)) == expected
    with pytest.raises(Denied, match="guests are not admitted by"):
        sign_in(REQUEST, None)


def test_a_project_may_return_another_id() -> None:
    """A number becomes text."""

    @user_authenticator()
    async def who(user: Person) -> dict[str, Any]:
        return {"id": 12}

    assert sign_in(REQUEST, Person(7)).id == "12"


def test_guests_may_sign_in_if_the_project_admits_them() -> None:
    """By their own id."""
    user_authenticator(lambda user: {"user_info": {"guest": isinstance(user, Guest)}}, guests=True)
    request = HttpRequest()
    found = sign_in(request, None)
    assert (found.id, found.user_info) == (get_guest(request).id, {"guest": True})
    assert sign_in(request, Person(7)).user_info == {"guest": False}


def test_a_project_may_refuse() -> None:
    """With anything false."""
    results: list[object] = [None, False, {}]
    for result in results:
        authorization._sign_in_handlers.clear()
        user_authenticator(lambda user, result=result: result)
        with pytest.raises(Denied, match="returned") as caught:
            sign_in(REQUEST, Person(7))
        assert not isinstance(caught.value, AuthorizerError)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (True, "returned a bool; it must be a dictionary"),
        (Person(), "returned a Person"),
        ({"name": "A"}, r"unknown keys \['name'\]"),
        ({"id": None}, "returned the id None"),
        ({"id": True}, "returned the id True"),
        ({"id": ""}, "is ''"),
        ({"id": "a b"}, "is 'a b'"),
        ({"id": "x" * 201}, "1 to 200"),
        ({"id": "7\n"}, "1 to 200"),
        ({"id": f"guest-{'0' * 32}"}, "the id of a guest"),
        ({"user_info": "A"}, "user_info of .* must be a dictionary"),
        ({"watchlist": "7"}, "watchlist of .* must be a list"),
        ({"watchlist": {"7": 1}}, "watchlist of .* must be a list"),
        ({"watchlist": 7}, "watchlist of .* must be a list"),
    ],
)
def test_an_invalid_answer_is_a_mistake(result: object, text: str) -> None:
    """The visitor is refused."""
    user_authenticator(lambda user: result)
    with pytest.raises(AuthorizerError, match=text):
        sign_in(REQUEST, Person(7))


def test_a_project_has_one_sign_in_function() -> None:
    """The same one may be registered twice."""

    def first(user: object) -> dict[str, Any]:
        return {"id": "1"}

    def second(user: object) -> dict[str, Any]:
        return {"id": "2"}

    again: Callable[[object], dict[str, Any]] = user_authenticator(user_authenticator(first))
    assert again is first
    with pytest.raises(ImproperlyConfigured, match=r"twice, for .*first and for .*second"):
        user_authenticator(second)
    assert sign_in(REQUEST, Person()).id == "1"
