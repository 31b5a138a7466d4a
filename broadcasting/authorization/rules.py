"""
The rules about who may join a guarded channel, and about signing in.

The ``channel_auth.py`` of an app, which is imported at start, registers them. They apply
whatever driver carries the events. Without a rule nobody is admitted.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast, overload

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from ..conf import get_authenticators
from ..guests import Guest, is_guest_id
from ..protocol.names import is_user_id
from .calling import AuthorizerError, Denied, Handler, User, dotted_name, settled
from .patterns import Pattern, bare_name

H = TypeVar("H", bound=Callable[..., object])

_USER_KEYS = {"id", "user_info", "watchlist"}


@dataclass(frozen=True, slots=True)
class Grant:
    """
    The answer to a visitor who may join a channel.

    Attributes:
        user_id: The visitor's id in the protocol.
        user_info: What the members of a presence channel receive, `None` for nothing.
        handler: The dotted name of the code that decided.
    """

    user_id: str
    user_info: Mapping[str, object] | None
    handler: str


@dataclass(frozen=True, slots=True)
class SignIn:
    """The user that a socket may sign in as; `handler` as of a `Grant`."""

    id: str
    user_info: Mapping[str, object] | None
    watchlist: list[str] | None
    handler: str


@overload
def channel_authorizer(
    pattern: str, *, guests: bool = ..., lookups: Mapping[str, str] | None = ...
) -> Callable[[H], H]: ...
@overload
def channel_authorizer(
    pattern: str, handler: H, *, guests: bool = ..., lookups: Mapping[str, str] | None = ...
) -> H: ...
def channel_authorizer(
    pattern: str,
    handler: H | None = None,
    *,
    guests: bool = False,
    lookups: Mapping[str, str] | None = None,
) -> H | Callable[[H], H]:
    """
    Register a function, or a class with a method `join`, that decides who may join a channel.

    It is called with the user, then the pattern's parameters by name, and the request if
    it has a parameter `request`. It may be async. A true result admits the user; on a
    presence channel, the other members receive a dictionary as ``user_info``.

    Args:
        pattern: Channel names without the prefix of their kind: ``"chat.{room}"``.
        handler: The function or class, where this is not used as a decorator.
        guests: Whether visitors who have not logged in are passed, too, as a `Guest`.
        lookups: The field by which a parameter annotated with a model is looked up, if
            it is not the primary key: ``{"room": "slug"}``.

    Raises:
        ImproperlyConfigured: The pattern can never match, or does not fit the handler.
    """

    def register(handler: H) -> H:
        parsed = Pattern(pattern)
        place = f"rule {pattern}"
        rule = Rule(parsed, Handler(handler, place, parsed.parameters, lookups or {}, guests))
        # A module may be run twice.
        if all((old.pattern.text, old.handler.target) != (pattern, handler) for old in _rules):
            _rules.append(rule)
        return handler

    return register if handler is None else register(handler)


@overload
def user_authenticator(handler: H, *, guests: bool = ...) -> H: ...
@overload
def user_authenticator(*, guests: bool = ...) -> Callable[[H], H]: ...
def user_authenticator(handler: H | None = None, *, guests: bool = False) -> H | Callable[[H], H]:
    """
    Register the project's function that decides as whom a socket signs in.

    It is called with the user, and the request if it has a parameter `request`. It
    returns a dictionary with any of `id`, `user_info` and `watchlist`, or something
    false to refuse. Without such a function users sign in by their primary key.

    Args:
        handler: The function or class, where this is not called.
        guests: Whether visitors who have not logged in are passed, too, as a `Guest`.

    Raises:
        ImproperlyConfigured: Another function is registered already.
    """

    def register(handler: H) -> H:
        new = Handler(handler, "the sign-in rule", (), {}, guests)
        for old in _sign_in_handlers:
            if old.target is not handler:
                raise ImproperlyConfigured(
                    f"@user_authenticator is used twice, for {old.name} and for {new.name}. "
                    f"A project may have only one."
                )
        _sign_in_handlers[:] = [new]
        return handler

    return register if handler is None else register(handler)


def rules() -> "list[Rule]":
    """Return the rules in the order of their registration: the first that matches decides."""
    return list(_rules)


def sign_in_handler() -> str | None:
    """Return the dotted name of the sign-in function, `None` if there is none."""
    return _sign_in_handlers[0].name if _sign_in_handlers else None


def authenticate(request: HttpRequest) -> User | None:
    """
    Return the user of `request`, `None` if nobody is logged in.

    Raises:
        Denied: An authenticator raised an exception.
    """
    for authenticator in get_authenticators():
        try:
            user = cast(User | None, settled(authenticator(request)))
            if user is not None and user.is_authenticated:
                return user
        except Exception as exc:  # Authenticators report a bad token in various ways.
            name = dotted_name(authenticator)
            raise Denied(f"{name} raised {type(exc).__name__}: {exc}") from exc
    user = getattr(request, "user", None)
    return user if user is not None and user.is_authenticated else None


def authorize(request: HttpRequest, user: User | None, channel: str) -> Grant:
    """
    Return the answer to a visitor who may join `channel`.

    Args:
        request: Of a guest, if `user` is `None` and the rule admits guests.
        user: As `authenticate` returned.
        channel: A valid name with its prefix.

    Raises:
        Denied: The rule refuses, or there is none.
    """
    name = bare_name(channel)
    if name is None:
        raise Denied(f"{channel} is neither private nor a presence channel: it needs no signature")
    for rule in _rules:
        if (values := rule.pattern.match(name)) is not None:
            return rule.ask(request, user, values)
    known = (
        ", ".join(rule.pattern.text for rule in _rules) or "nothing; is there a channel_auth.py?"
    )
    raise Denied(f"no rule matches {name!r}; registered: {known}")


def sign_in(request: HttpRequest, user: User | None) -> SignIn:
    """
    Return the user that a socket of `request` may sign in as; `user` as in `authorize`.

    Raises:
        Denied: There is none.
    """
    for handler in _sign_in_handlers:
        return _sign_in_by(handler, request, user)
    if user is None:
        raise Denied("nobody is logged in, and no @user_authenticator admits guests")
    return SignIn(_valid_id(_user_id(user), "the primary key"), None, None, "the default")


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern, and the code that decides about the channels that match it."""

    pattern: Pattern
    handler: Handler

    def ask(self, request: HttpRequest, user: User | None, values: Mapping[str, object]) -> Grant:
        """Return the answer to a visitor who may join. Raise `Denied` otherwise."""
        visitor, result = self.handler.ask(request, user, values)
        info = result if isinstance(result, dict) else None
        return Grant(_user_id(visitor), info, self.handler.name)


_rules: list[Rule] = []
_sign_in_handlers: list[Handler] = []  # One at most.


def _sign_in_by(handler: Handler, request: HttpRequest, user: User | None) -> SignIn:
    name = handler.name
    visitor, result = handler.ask(request, user, {})
    if not isinstance(result, dict):
        raise AuthorizerError(f"{name} returned a {type(result).__name__}; it must be a dictionary")
    if unknown := set(result) - _USER_KEYS:
        raise AuthorizerError(
            f"{name} returned the unknown keys {sorted(map(str, unknown))}; "
            f"put what others may know of a user into user_info"
        )
    if "id" in result and (result["id"] is None or isinstance(result["id"], bool)):
        raise AuthorizerError(f"{name} returned the id {result['id']!r}")
    user_id = str(result["id"]) if "id" in result else _user_id(visitor)
    if user_id != visitor.pk and is_guest_id(user_id):
        raise AuthorizerError(f"{name} returned the id of a guest")
    user_info, watchlist = result.get("user_info"), result.get("watchlist")
    if user_info is not None and not isinstance(user_info, dict):
        raise AuthorizerError(f"the user_info of {name} must be a dictionary")
    if watchlist is not None:
        if isinstance(watchlist, str | bytes | Mapping) or not isinstance(watchlist, Iterable):
            raise AuthorizerError(f"the watchlist of {name} must be a list of ids")
        watchlist = [str(item) for item in watchlist]
    return SignIn(_valid_id(user_id, f"the id of {name}"), user_info, watchlist, name)


def _user_id(visitor: User | Guest) -> str:
    if isinstance(visitor, Guest):
        return visitor.id
    user_id = str(visitor.pk)
    if visitor.pk is None or not user_id or is_guest_id(user_id):
        raise AuthorizerError(f"the primary key {visitor.pk!r} cannot identify a user")
    return user_id


def _valid_id(user_id: str, what: str) -> str:
    if not is_user_id(user_id):
        raise AuthorizerError(
            f"{what} is {user_id!r}; a user who signs in has an id of 1 to 200 letters, digits "
            f"and _-=@,.;"
        )
    return user_id
