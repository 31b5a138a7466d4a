"""Code of the project that is asked about a visitor: what fits, what it is given, what counts."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, Permission, User
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import DataError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseForbidden
from django.shortcuts import get_object_or_404

from broadcasting.authorization.calling import Denied, Handler, Mistaken, dotted_name
from broadcasting.authorization.patterns import Pattern
from broadcasting.guests import Guest
from whik.factories import UserFactory

VISITOR = Guest("guest-1")


def handler(target: Callable[..., object], pattern: str = "chat.{room}", **lookups: str) -> Handler:
    """Return the handler of a rule."""
    return Handler(target, f"rule {pattern}", Pattern(pattern).parameters, lookups)


def ask(target: Callable[..., object], pattern: str = "chat.{room}", **values: object) -> object:
    """Return what admits the visitor to a channel of these values."""
    given = values or {parameter.name: "7" for parameter in Pattern(pattern).parameters}
    return handler(target, pattern).ask(HttpRequest(), VISITOR, given)


# What it is called with.


def test_it_is_given_the_user_then_the_parameters_by_name() -> None:
    """In whatever order it names them."""

    def chat(user: object, seat: str, room: str) -> tuple[object, ...]:
        return user, seat, room

    assert ask(chat, "chat.{room}.{seat}", room="a", seat="b") == (VISITOR, "b", "a")


def test_it_is_given_the_request_if_it_asks_for_it() -> None:
    """By its name, `request`."""

    def chat(user: object, room: str, request: HttpRequest) -> tuple[object, ...]:
        return user, room, request

    request = HttpRequest()
    assert handler(chat).ask(request, VISITOR, {"room": "7"}) == (VISITOR, "7", request)


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
def test_every_way_to_take_them_fits(target: Callable[..., object]) -> None:
    """What Python can call so can be registered so."""
    assert ask(target) == (VISITOR, "7")


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
        (lambda user, request: 1, "chat.{request}", "is what the HTTP request is called"),
        ("chat", "chat", "neither a function nor a class"),
        (None, "chat", "neither a function nor a class"),
    ],
)
def test_names_that_differ_are_refused(target: Any, pattern: str, text: str) -> None:
    """When it is registered, with what Python would say when it is called."""
    with pytest.raises(ImproperlyConfigured, match=text):
        handler(target, pattern)


def test_what_yields_is_refused() -> None:
    """Its result would be true, whoever asks."""

    def chat(user: object) -> Iterator[bool]:
        yield False

    async def achat(user: object) -> AsyncIterator[bool]:
        yield False

    for target in (chat, achat, functools.wraps(chat)(lambda user: chat(user))):
        with pytest.raises(ImproperlyConfigured, match="yields"):
            handler(target, "chat")


# Async code and classes.


def test_it_may_be_async() -> None:
    """Its answer counts, not the coroutine, which would be true."""

    async def yes(user: object, room: str) -> str:
        await asyncio.sleep(0)
        return room

    async def no(user: object, room: str) -> bool:
        return False

    assert ask(yes) == "7"
    for refusing in (no, functools.partial(no), lambda user, room: no(user, room)):
        with pytest.raises(Denied):
            ask(refusing)


async def test_async_code_runs_below_an_async_server() -> None:
    """Where the view runs in a thread, and a loop runs elsewhere."""

    async def yes(user: object, room: str) -> str:
        await asyncio.sleep(0)
        return room

    assert await sync_to_async(ask)(yes) == "7"


def test_a_class_is_made_for_each_request() -> None:
    """What it keeps on itself belongs to nobody else."""
    made = []

    class Chat:
        def __init__(self) -> None:
            made.append(self)

        def join(self, user: object, room: str) -> tuple[object, ...]:
            return self, user, room

    chat = handler(Chat)
    assert made == []
    answers = [chat.ask(HttpRequest(), VISITOR, {"room": "7"}) for _ in range(2)]
    assert answers == [(made[0], VISITOR, "7"), (made[1], VISITOR, "7")]
    assert chat.name.endswith("<locals>.Chat")


def test_a_class_may_be_async_and_take_the_request() -> None:
    """As a function may."""

    class Chat:
        async def join(self, user: object, room: str, request: HttpRequest) -> HttpRequest:
            return request

    assert isinstance(ask(Chat), HttpRequest)


class Joinless:
    pass


class Needy:
    def __init__(self, more: int) -> None: ...
    def join(self, user: object, room: str) -> bool:
        return True


class Userless:
    def join(self, room: str) -> bool:
        return True


class NoMethod:
    join = True


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Joinless, "no method join"),
        (NoMethod, "no method join"),
        (Needy, "without arguments: missing a required argument: 'more'"),
        (Userless, "multiple values for argument 'room'"),
    ],
)
def test_a_class_that_cannot_be_asked_is_refused(target: type, text: str) -> None:
    """When it is registered."""
    with pytest.raises(ImproperlyConfigured, match=text):
        handler(target)


# What its answer means.


@pytest.mark.parametrize("result", [True, 1, "yes", {"name": "A"}, [0], VISITOR], ids=repr)
def test_what_is_true_admits(result: object) -> None:
    """And is handed on."""
    assert ask(lambda user, room: result) is result


@pytest.mark.parametrize("result", [False, None, 0, "", {}, []], ids=repr)
def test_what_is_false_refuses(result: object) -> None:
    """The reason names the rule, its code and the answer."""
    with pytest.raises(Denied) as caught:
        ask(lambda user, room: result)
    assert str(caught.value) == (
        f"rule chat.{{room}} of {__name__}.test_what_is_false_refuses.<locals>.<lambda> "
        f"returned {result!r}"
    )
    assert not isinstance(caught.value, Mistaken)


@pytest.mark.parametrize(
    "result",
    [VISITOR.has_perm, lambda: False, len, (x for x in "")],
    ids=["method", "function", "built-in", "generator"],
)
def test_a_call_that_was_forgotten_refuses(result: object) -> None:
    """`return room.is_open` is true for everybody, and meant otherwise."""
    with pytest.raises(Mistaken, match="not its result"):
        ask(lambda user, room: result)


@pytest.mark.parametrize(
    "result",
    [HttpResponseForbidden(), HttpResponse(), PermissionDenied(), Http404, ValueError("no")],
    ids=repr,
)
def test_a_refusal_of_another_kind_refuses(result: object) -> None:
    """`return HttpResponseForbidden()`, as a view writes it, must not let anybody in."""
    with pytest.raises(Mistaken, match="not its result"):
        ask(lambda user, room: result)


@pytest.mark.parametrize(
    "exception",
    [PermissionDenied("Banned"), Http404("Gone"), User.DoesNotExist("Nobody")],
    ids=repr,
)
def test_what_django_takes_for_a_refusal_is_one(exception: Exception) -> None:
    """The shortcuts that views use work here."""

    def chat(user: object, room: str) -> bool:
        raise exception

    with pytest.raises(Denied, match=f"{type(exception).__name__}: {exception}"):
        ask(chat)


def test_another_exception_is_a_bug() -> None:
    """It is told as any bug in a view is."""

    def chat(user: object, room: str) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask(chat)


# Models.


def person(user: object, room: User) -> User:
    return room


@pytest.mark.django_db
class TestLookup:
    def test_a_model_in_the_annotation_is_looked_up(self) -> None:
        """By its primary key, as text or as a converter gave it."""
        user = UserFactory.create()
        assert ask(person, room=str(user.pk)) == user
        assert ask(person, "chat.{room:int}", room=user.pk) == user

    def test_an_annotation_may_be_text(self) -> None:
        """As all are below `from __future__ import annotations`."""

        def chat(user: "NobodyKnows", room: "User") -> User:  # type: ignore[name-defined]  # noqa: F821
            return room

        user = UserFactory.create()
        assert ask(chat, room=str(user.pk)) == user

    def test_another_field_can_be_named(self) -> None:
        """One that identifies a row."""
        user = UserFactory.create()
        found = handler(person, room="username").ask(
            HttpRequest(), VISITOR, {"room": user.username}
        )
        assert found == user

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ("7", "User 7 does not exist"),
            (7, "User 7 does not exist"),
            ("99999999999999999999999", "User 99999999999999999999999 does not exist"),
            (10**150, "does not exist"),
            ("lobby", "User lobby cannot exist: "),
            ("7.5", "User 7.5 cannot exist: "),
        ],
    )
    def test_a_missing_row_refuses(self, value: object, reason: str) -> None:
        """Also one that cannot be, and without asking the code."""

        def chat(user: object, room: User) -> bool:
            raise AssertionError

        with pytest.raises(Denied, match=reason) as caught:
            ask(chat, room=value)
        assert not isinstance(caught.value, Mistaken)

    def test_another_spelling_refuses(self) -> None:
        """Databases take 007 for 7; such a channel would be another one, unseen."""
        user = UserFactory.create()
        with pytest.raises(Denied, match=f"User 0{user.pk} is spelt {user.pk}"):
            ask(person, room=f"0{user.pk}")

    def test_what_the_database_refuses_to_compare_refuses(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Which databases do at different times."""

        def get(**fields: object) -> User:
            raise DataError("out of range")

        monkeypatch.setattr(User._default_manager, "get", get)
        with pytest.raises(Denied, match="User 7 cannot exist: out of range"):
            ask(person)

    def test_a_field_that_does_not_identify_is_a_mistake(self) -> None:
        """Nobody is let in on the strength of either row."""
        codename = Permission.objects.all()[0].codename
        Permission.objects.create(
            codename=codename,
            content_type=Permission.objects.last().content_type,  # type: ignore[union-attr]  # there are some
        )

        def chat(user: object, room: Permission) -> bool:
            raise AssertionError

        with pytest.raises(Mistaken, match=r"with the codename .* exists more than once"):
            handler(chat, room="codename").ask(HttpRequest(), VISITOR, {"room": codename})

    def test_async_code_gets_models_too(self) -> None:
        """They have been fetched before it is called."""

        async def chat(user: object, room: User) -> User:
            return room

        user = UserFactory.create()
        assert ask(chat, room=user.pk) == user

    def test_the_code_may_look_up_what_it_likes(self) -> None:
        """With the shortcut for it."""

        def chat(user: object, room: str) -> Group:
            return get_object_or_404(Group, name=room)

        group = Group.objects.create(name="7")
        assert ask(chat) == group
        with pytest.raises(Denied, match="Http404"):
            ask(chat, room="8")


def test_lookups_must_name_models_and_their_fields() -> None:
    """When they are written."""
    for lookups, text in [
        ({"rom": "username"}, "'rom', a name it lacks"),
        ({"room": "slug"}, "User has no field named 'slug'"),
    ]:
        with pytest.raises(ImproperlyConfigured, match=text):
            handler(person, **lookups)
    with pytest.raises(ImproperlyConfigured, match="'room', which is not annotated with a model"):
        handler(lambda user, room: 1, room="slug")


def test_an_annotation_that_is_not_there_at_run_time_is_refused() -> None:
    """Unresolved, a model would not be looked up and the code be given text."""

    def chat(user: object, room: "Rooom") -> bool:  # type: ignore[name-defined]  # noqa: F821
        return True

    with pytest.raises(
        ImproperlyConfigured, match=r"'Rooom' is not defined\. Import it also at run"
    ):
        handler(chat)


def test_an_annotation_that_text_does_not_meet_is_refused() -> None:
    """`room == 7` would be false for "7"; the converter is told."""

    def number(user: object, room: int) -> bool:
        return True

    def key(user: object, room: UUID) -> bool:
        return True

    with pytest.raises(ImproperlyConfigured, match=r"Write {room:int}"):
        handler(number)
    with pytest.raises(ImproperlyConfigured, match=r"Write {room:uuid}"):
        handler(key)
    assert ask(number, "chat.{room:int}", room=7) is True


def test_names() -> None:
    """A function's and a class's own, of anything else its class's."""
    assert dotted_name(person) == "tests.authorization.test_calling.person"
    assert dotted_name(Joinless) == "tests.authorization.test_calling.Joinless"
    assert dotted_name(Joinless()) == "tests.authorization.test_calling.Joinless"
    assert dotted_name(functools.partial(person)) == "functools.partial"
