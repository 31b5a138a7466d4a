"""Functions and classes of the project that decide about a visitor, checked when registered."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, get_type_hints
from uuid import UUID

from asgiref.sync import async_to_sync
from django.core.exceptions import (
    FieldDoesNotExist,
    ImproperlyConfigured,
    MultipleObjectsReturned,
    ObjectDoesNotExist,
    PermissionDenied,
    ValidationError,
)
from django.db import DataError
from django.db.models import Model
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase

from ..guests import Guest, get_guest
from .patterns import Parameter

# True values that are returned by mistake: refusals, and classes that were not called.
_NO_ANSWERS = (HttpResponseBase, BaseException, type)


class User(Protocol):
    """What a rule needs of the user that an authenticator, or ``request.user``, returns."""

    @property
    def pk(self) -> object: ...
    @property
    def is_authenticated(self) -> bool: ...


class Denied(Exception):
    """
    Raised when a visitor is refused.

    The text says why, for the log and for developers; never show it to the visitor.
    """


class AuthorizerError(Denied):
    """Raised when a visitor is refused because of a mistake in the project's own code."""


class Handler:
    """
    A function or class that decides about a visitor.

    Args:
        target: A function, or a class with a method `join`.
        place: What it was registered as, for errors.
        parameters: Those that it gets beside the user.
        lookups: As of `channel_authorizer`.
        guests: Whether visitors who have not logged in are passed, too.
    """

    def __init__(
        self,
        target: Callable[..., object],
        place: str,
        parameters: Iterable[Parameter],
        lookups: Mapping[str, str],
        guests: bool,
    ) -> None:
        self.target = target
        self.guests = guests
        self.name = dotted_name(target)
        self._what = f"{place} of {self.name}"
        by_name = {parameter.name: parameter for parameter in parameters}
        function = _function_of(target, self.name)
        signature = _check_signature(function, isinstance(target, type), by_name, self.name, place)
        self._takes_request = "request" in signature.parameters
        if unknown := sorted(set(lookups) - set(by_name)):
            raise ImproperlyConfigured(
                f"lookups of {place} names {unknown[0]!r}, which is not in the pattern."
            )
        self._lookups: dict[str, _Lookup] = {}
        for name, parameter in by_name.items():
            annotated = signature.parameters.get(name)
            kind = _resolve(function, annotated.annotation, self.name) if annotated else None
            if (lookup := _lookup(parameter, kind, lookups.get(name), place)) is not None:
                self._lookups[name] = lookup

    def ask(
        self, request: HttpRequest, user: User | None, values: Mapping[str, object]
    ) -> tuple[User | Guest, object]:
        """
        Return the visitor, and the true value that admits them. Raise `Denied` otherwise.

        The visitor is `user`, or the guest of `request` if `user` is `None`.
        """
        if user is None and not self.guests:
            raise Denied(f"nobody is logged in, and guests are not admitted by {self.name}")
        visitor = get_guest(request) if user is None else user
        arguments = {
            name: self._lookups[name].get(value) if name in self._lookups else value
            for name, value in values.items()
        }
        if self._takes_request:
            arguments["request"] = request
        # Of a class, each request gets an instance of its own.
        call = self.target().join if isinstance(self.target, type) else self.target
        try:
            result = settled(call(visitor, **arguments))
        except (PermissionDenied, Http404, ObjectDoesNotExist) as exc:
            raise Denied(f"{self._what} raised {type(exc).__name__}: {exc}") from exc
        # `return room.is_open`, a method, and `return HttpResponseForbidden()` are true.
        if _was_not_called(result) or isinstance(result, _NO_ANSWERS):
            raise AuthorizerError(f"{self._what} returned a {type(result).__name__}, not an answer")
        if not result:
            raise Denied(f"{self._what} returned {result!r}")
        return visitor, result


@dataclass(frozen=True, slots=True)
class _Lookup:
    model: type[Model]
    field: str

    def get(self, value: object) -> Model:
        """Return the row. Raise `Denied` if there is none, or can be none."""
        named = "" if self.field == "pk" else f"with the {self.field} "
        what = f"{self.model.__name__} {named}{value}"
        try:
            row = self.model._default_manager.get(**{self.field: value})
        except ObjectDoesNotExist as exc:
            raise Denied(f"{what} does not exist") from exc
        except MultipleObjectsReturned as exc:
            raise AuthorizerError(f"{what} exists more than once") from exc
        except (ValueError, TypeError, OverflowError, ValidationError, DataError) as exc:
            raise Denied(f"{what} cannot exist: {exc}") from exc
        # To databases 007 equals 7, and to some a equals A; to channels they do not.
        name = self.model._meta.pk.attname if self.field == "pk" else self.field
        spelling = str(getattr(row, name))
        if spelling != str(value):
            raise Denied(f"{what} is spelled {spelling}")
        return row


def settled(result: object) -> object:
    """Return the result of a call, awaited where that is needed: a coroutine is true."""
    return async_to_sync(_awaited)(result) if inspect.isawaitable(result) else result


async def _awaited(awaitable: Awaitable[object]) -> object:
    return await awaitable


def _was_not_called(result: object) -> bool:
    return inspect.isroutine(result) or inspect.isgenerator(result) or inspect.isasyncgen(result)


def dotted_name(target: object) -> str:
    """Return the name of a function or a class, of anything else that of its class."""
    named = target if hasattr(target, "__qualname__") else type(target)
    return f"{named.__module__}.{named.__qualname__}"


# Registration


def _function_of(target: object, name: str) -> Callable[..., object]:
    """Return the function that is called, of a class its method `join`."""
    function: object = target
    if isinstance(target, type):
        function = getattr(target, "join", None)
        if not inspect.isfunction(function):
            raise ImproperlyConfigured(f"{name} has no method join(self, user, ...).")
        try:
            inspect.signature(target).bind()
        except TypeError as exc:
            raise ImproperlyConfigured(
                f"{name} is instantiated for each request, without arguments: {exc}."
            ) from exc
    if not callable(function):
        raise ImproperlyConfigured(f"{name} is neither a function nor a class with a method join.")
    bare = inspect.unwrap(function)
    if inspect.isgeneratorfunction(bare) or inspect.isasyncgenfunction(bare):
        raise ImproperlyConfigured(f"{name} yields. It must return its answer.")
    return function


def _check_signature(
    function: Callable[..., object], is_method: bool, names: Iterable[str], name: str, place: str
) -> inspect.Signature:
    """Return the signature of `function`. Raise if it cannot be called with these `names`."""
    try:
        signature = inspect.signature(function)
    except NameError as exc:  # Python 3.14 evaluates annotations here.
        raise _unresolved(name, exc) from exc
    if "request" in names:
        raise ImproperlyConfigured(f"{place}: `request` is the name of the HTTP request.")
    given = dict.fromkeys(names)
    if "request" in signature.parameters:
        given["request"] = None
    try:
        signature.bind(*[None] * (1 + is_method), **given)
    except TypeError as exc:
        raise ImproperlyConfigured(
            f"{name} does not fit {place}, which gives it the user, then by name "
            f"{', '.join(names) or 'nothing'}: {exc}."
        ) from exc
    return signature


def _lookup(parameter: Parameter, kind: object, field: str | None, place: str) -> _Lookup | None:
    """Return how the model of a parameter is found, `None` if its annotation is not a model."""
    # Without a converter the value is text, which is never equal to one of these.
    if kind in (int, UUID) and parameter.converter is None:
        converter = "int" if kind is int else "uuid"
        raise ImproperlyConfigured(
            f"{place} gives text for {parameter.name!r}, which is annotated otherwise. "
            f"Write {{{parameter.name}:{converter}}}."
        )
    if not (isinstance(kind, type) and issubclass(kind, Model)):
        if field is not None:
            raise ImproperlyConfigured(
                f"lookups of {place} names {parameter.name!r}, which is not annotated with a model."
            )
        return None
    if field is not None:
        try:
            kind._meta.get_field(field)
        except FieldDoesNotExist as exc:
            raise ImproperlyConfigured(f"lookups of {place}: {exc}.") from exc
    return _Lookup(kind, field or "pk")


def _resolve(function: Callable[..., object], annotation: object, name: str) -> object:
    if not isinstance(annotation, str):
        return annotation

    # This annotation alone: the names in others may exist for type checkers only.
    class Holder:
        __annotations__ = {"it": annotation}

    try:
        return get_type_hints(Holder, getattr(inspect.unwrap(function), "__globals__", {}))["it"]
    except NameError as exc:
        raise _unresolved(name, exc) from exc


def _unresolved(name: str, exc: NameError) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"An annotation of {name} cannot be resolved: {exc}. Import it also at run time."
    )
