"""Functions and classes that decide about a visitor: their arguments and their answers."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import DataError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseForbidden

from broadcasting.authorization.calling import AuthorizerError, Denied, Handler, dotted_name
from broadcasting.authorization.patterns import Pattern
from broadcasting.guests import Guest
from whik.factories import UserFactory

VISITOR: Any = Guest("guest-1")


def handler(target: Callable[..., object], pattern: str = "chat.{room}", **lookups: str) -> Handler:
    """Return the handler of a rule."""
    return Handler(target, f"rule {pattern}", Pattern(pattern).parameters, lookups, guests=True)


def ask(target: Callable[..., object], pattern: str = "chat.{room}", **values: object) -> object:
    """Return what admits the visitor to a channel with these values."""
    given = values or {parameter.name: "7" for parameter in Pattern(pattern).parameters}
    return handler(target, pattern).ask(HttpRequest(), VISITOR, given)[1]


# Arguments


def test_parameters_are_passed_by_name() -> None:
    """After the user, in whatever order the function has them, and with the request."""

    def chat(user: object, request: HttpRequest, seat: str, room: str) -> tuple[object, ...]:
        return user, request, seat, room

    request = HttpRequest()
    values = {"room": "a", "seat": "b"}
    asked = handler(chat, "chat.{room}.{seat}").ask(request, VISITOR, values)
    assert asked == (VISITOR, (VISITOR, request, "b", "a"))


@pytest.mark.parametrize(
    "target",
    [
        lambda user, room: (user, room),
        lambda user, room, more=1: (user, room),
        lambda user, **names: (user, names["room"]),
        lambda user, *, room: (user, room),
        lambda user, /, room: (user, room),
        lambda *args, room: (args[0], room),
        functools.partial(lambda more, user, room: (user, room), 1),
        SimpleNamespace(ask=lambda user, room: (user, room)).ask,
    ],
)
def test_every_signature_that_fits_is_accepted(target: Callable[..., object]) -> None:
    """Whatever Python can call with these arguments."""
    assert ask(target) == (VISITOR, "7")


class Joinless:
    pass


class NoMethod:
    join = True


class Needy:
    def __init__(self, more: int) -> None: ...
    def join(self, user: object, room: str) -> bool:
        return True


class Userless:
    def join(self, room: str) -> bool:
        return True


@pytest.mark.parametrize(
    ("target", "pattern", "text"),
    [
        (lambda: 1, "chat", "too many positional"),
        (lambda user: 1, "chat.{room}", "unexpected keyword argument 'room'"),
        (lambda user, room: 1, "chat", "missing a required argument: 'room'"),
        (lambda user, rom: 1, "chat.{room}", "missing a required argument: 'rom'"),
        (lambda user, room, /: 1, "chat.{room}", "does not fit rule chat"),
        (lambda *, user, room: 1, "chat.{room}", "too many positional"),
        (lambda user, **names: 1, "chat.{user}", "multiple values for argument 'user'"),
        (lambda request, room: 1, "chat.{room}", "multiple values for argument 'request'"),
        (lambda user, request: 1, "chat.{request}", "name of the HTTP request"),
        ("chat", "chat", "neither a function nor a class"),
        (None, "chat", "neither a function nor a class"),
        (Joinless, "chat.{room}", "no method join"),
        (NoMethod, "chat.{room}", "no method join"),
        (Needy, "chat.{room}", "without arguments: missing a required argument: 'more'"),
        (Userless, "chat.{room}", "multiple values for argument 'room'"),
    ],
)
def test_what_cannot_be_called_is_refused(target: Any, pattern: str, text: str) -> None:
    """When it is registered, with Python's reason."""
    with pytest.raises(ImproperlyConfigured, match=text):
        handler(target, pattern)


def test_generators_are_refused() -> None:
    """Their result would be true for everybody."""

    def chat(user: object) -> Iterator[bool]:
        yield False

    async def achat(user: object) -> AsyncIterator[bool]:
        yield False

    for target in (chat, achat, functools.wraps(chat)(lambda user: chat(user))):
        with pytest.raises(ImproperlyConfigured, match="yields"):
            handler(target, "chat")


# Async code and classes


async def return_room(user: object, room: object) -> object:
    """Return the room, after a turn of the loop."""
    await asyncio.sleep(0)
    return room


async def test_async_functions_are_awaited() -> None:
    """The coroutine itself would be true; the view may run in a thread of an async server."""

    async def refuse(user: object, room: str) -> bool:
        return False

    assert await sync_to_async(ask)(return_room) == "7"
    for target in (refuse, functools.partial(refuse), lambda user, room: refuse(user, room)):
        with pytest.raises(Denied):
            await sync_to_async(ask)(target)


def test_a_class_is_instantiated_for_each_request() -> None:
    """What one request keeps on it is not seen by another; `join` may be async."""
    made = []

    class Chat:
        def __init__(self) -> None:
            made.append(self)

        async def join(self, user: object, room: str, request: HttpRequest) -> tuple[object, ...]:
            return self, user, room, request

    chat, request = handler(Chat), HttpRequest()
    assert made == []
    answers = [chat.ask(request, VISITOR, {"room": "7"})[1] for _ in range(2)]
    assert answers == [(one, VISITOR, "7", request) for one in made]
    assert made[0] is not made[1]


# Answers


def test_a_true_answer_admits_and_a_false_one_refuses() -> None:
    """A reason names the rule, its code and the answer."""
    admitting: list[object] = [True, 1, "yes", {"name": "A"}, [0], VISITOR]
    for result in admitting:
        assert ask(lambda user, room, result=result: result) is result
    refusing: list[object] = [False, None, 0, "", {}, []]
    for result in refusing:
        with pytest.raises(Denied, match=r"rule chat.{room} of tests\..* returned ") as caught:
            ask(lambda user, room, result=result: result)
        assert str(caught.value).endswith(repr(result))
        assert not isinstance(caught.value, AuthorizerError)


@pytest.mark.parametrize(
    "result",
    [
        VISITOR.has_perm,
        lambda: False,
        len,
        (x for x in ""),
        HttpResponseForbidden(),
        HttpResponse(),
        PermissionDenied(),
        Http404,
        ValueError("no"),
    ],
)
def test_a_true_value_that_is_no_answer_refuses(result: object) -> None:
    """`return room.is_open` and `return HttpResponseForbidden()` are mistakes."""
    with pytest.raises(AuthorizerError, match="not an answer"):
        ask(lambda user, room: result)


@pytest.mark.parametrize(
    "exception",
    [PermissionDenied("Banned"), Http404("Gone"), User.DoesNotExist("Nobody")],
    ids=repr,
)
def test_a_refusal_of_djangos_refuses(exception: Exception) -> None:
    """As in views, with shortcuts such as `get_object_or_404`."""

    def chat(user: object, room: str) -> bool:
        raise exception

    with pytest.raises(Denied, match=f"{type(exception).__name__}: {exception}"):
        ask(chat)


def test_another_exception_is_raised() -> None:
    """It is a bug, as in a view."""
    with pytest.raises(ZeroDivisionError):
        ask(lambda user, room: 1 / 0)


# Models


def person(user: object, room: User) -> User:
    return room


def never(user: object, room: User) -> bool:
    raise AssertionError


@pytest.mark.django_db
class TestLookup:
    def test_a_model_is_looked_up_by_its_primary_key(self) -> None:
        """Text, or what a converter returned; the annotation may be text, too."""

        def chat(user: "NobodyKnows", room: "User") -> User:  # type: ignore[name-defined]  # noqa: F821
            return room

        user = UserFactory.create()
        assert ask(person, room=str(user.pk)) == user
        assert ask(person, "chat.{room:int}", room=user.pk) == user
        assert ask(chat, room=str(user.pk)) == user

    def test_another_field_can_be_named(self) -> None:
        """One that identifies a row."""
        user = UserFactory.create()
        values = {"room": user.username}
        assert handler(person, room="username").ask(HttpRequest(), VISITOR, values)[1] == user

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ("7", "User 7 does not exist"),
            (7, "User 7 does not exist"),
            ("99999999999999999999999", "does not exist"),
            (10**150, "does not exist"),
            ("lobby", "User lobby cannot exist: "),
            ("7.5", "User 7.5 cannot exist: "),
        ],
    )
    def test_a_missing_row_refuses(self, value: object, reason: str) -> None:
        """The function is not called."""
        with pytest.raises(Denied, match=reason) as caught:
            ask(never, room=value)
        assert not isinstance(caught.value, AuthorizerError)

    def test_another_spelling_refuses(self) -> None:
        """Databases accept 007 for 7, but that is another channel."""
        user = UserFactory.create()
        with pytest.raises(Denied, match=f"User 0{user.pk} is spelled {user.pk}"):
            ask(person, room=f"0{user.pk}")

    def test_an_error_of_the_database_refuses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Databases differ in when they raise it."""

        def get(**fields: object) -> User:
            raise DataError("out of range")

        monkeypatch.setattr(User._default_manager, "get", get)
        with pytest.raises(Denied, match="User 7 cannot exist: out of range"):
            ask(person)

    def test_a_field_that_does_not_identify_a_row_is_a_mistake(self) -> None:
        """Neither row admits anybody."""
        first, *_, last = Permission.objects.all()
        Permission.objects.create(codename=first.codename, content_type=last.content_type)

        def chat(user: object, room: Permission) -> bool:
            raise AssertionError

        with pytest.raises(AuthorizerError, match=r"with the codename .* exists more than once"):
            handler(chat, room="codename").ask(HttpRequest(), VISITOR, {"room": first.codename})


def unresolved(user: object, room: "Rooom") -> bool:  # type: ignore[name-defined]  # noqa: F821
    return True


def number(user: object, room: int) -> bool:
    return True


def key(user: object, room: UUID) -> bool:
    return True


@pytest.mark.parametrize(
    ("target", "lookups", "text"),
    [
        (person, {"rom": "username"}, "'rom', which is not in the pattern"),
        (person, {"room": "slug"}, "User has no field named 'slug'"),
        (lambda user, room: 1, {"room": "slug"}, "'room', which is not annotated with a model"),
        (unresolved, {}, r"'Rooom' is not defined\. Import it also at run"),
        (number, {}, r"Write {room:int}"),
        (key, {}, r"Write {room:uuid}"),
    ],
)
def test_annotations_and_lookups_are_checked(
    target: Callable[..., object], lookups: dict[str, str], text: str
) -> None:
    """When they are registered. Text would never equal a number."""
    with pytest.raises(ImproperlyConfigured, match=text):
        handler(target, **lookups)


def test_a_converter_fits_its_annotation() -> None:
    """A number is passed as one."""
    assert ask(number, "chat.{room:int}", room=7) is True


def test_names() -> None:
    """A function's and a class's own, of anything else its class's."""
    assert dotted_name(person) == f"{__name__}.person"
    assert dotted_name(Joinless) == dotted_name(Joinless()) == f"{__name__}.Joinless"
    assert dotted_name(functools.partial(person)) == "functools.partial"
