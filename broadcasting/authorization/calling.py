"""
Code of the project that is asked about a visitor, as far as calling it goes.

What can be found wrong with it is found when it is registered.
"""

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

from ..guests import Guest
from .patterns import Parameter

# Compared with what a parameter without a converter holds, these are never equal.
_CONVERTERS = ((int, "int"), (UUID, "uuid"))
# By returning these a view refuses, or someone who meant to raise. They are all true.
_REFUSALS = (HttpResponseBase, BaseException, type)


class User(Protocol):
    """What is asked of whoever an authenticator, or ``request.user``, stands for."""

    @property
    def pk(self) -> object: ...
    @property
    def is_authenticated(self) -> bool: ...


class Denied(Exception):
    """
    Somebody is not let in.

    The text says why: for the log and for developers, never for who asks.
    """


class Mistaken(Denied):
    """Somebody is not let in since the project's own code went wrong."""


class Handler:
    """
    Code of the project that is asked about a user.

    Args:
        target: A function, or a class with a method `join`.
        place: What it was registered as, for errors.
        parameters: Those that it must take beside the user.
        lookups: As of `channel_authorizer`.
    """

    def __init__(
        self,
        target: Callable[..., object],
        place: str,
        parameters: Iterable[Parameter],
        lookups: Mapping[str, str],
    ) -> None:
        self.target = target
        self.name = dotted_name(target)
        self._what = f"{place} of {self.name}"
        function = _function_of(target, self.name)
        by_name = {parameter.name: parameter for parameter in parameters}
        signature = _fitting_signature(
            function, isinstance(target, type), list(by_name), self.name, place
        )
        self._takes_request = "request" in signature.parameters
        if unknown := sorted(set(lookups) - set(by_name)):
            raise ImproperlyConfigured(f"lookups of {place} names {unknown[0]!r}, a name it lacks.")
        self._lookups = {
            parameter.name: _lookup(
                parameter,
                _resolved(function, signature.parameters[parameter.name].annotation, self.name)
                if parameter.name in signature.parameters
                else None,
                lookups.get(parameter.name),
                place,
            )
            for parameter in parameters
        }

    def ask(
        self, request: HttpRequest, visitor: User | Guest, values: Mapping[str, object]
    ) -> object:
        """Return the true value that admits `visitor`. Raise `Denied` otherwise."""
        arguments = {
            name: lookup.get(value) if (lookup := self._lookups[name]) else value
            for name, value in values.items()
        }
        if self._takes_request:
            arguments["request"] = request
        try:
            result = settled(self._made()(visitor, **arguments))
        except (PermissionDenied, Http404, ObjectDoesNotExist) as exc:
            raise Denied(f"{self._what} raised {type(exc).__name__}: {exc}") from exc
        # `return room.is_open` where that is a method: true, whoever asks.
        # `return HttpResponseForbidden()`, `return PermissionDenied()`: true, and meant otherwise.
        if _is_forgotten_call(result) or isinstance(result, _REFUSALS):
            raise Mistaken(f"{self._what} returned a {type(result).__name__}, not its result")
        if not result:
            raise Denied(f"{self._what} returned {result!r}")
        return result

    def _made(self) -> Callable[..., object]:
        """Return what is called: of a class, the method of an instance of this request's own."""
        if not isinstance(self.target, type):
            return self.target
        join: Callable[..., object] = self.target().join
        return join


@dataclass(frozen=True, slots=True)
class _Lookup:
    model: type[Model]
    field: str

    def get(self, value: object) -> Model:
        """Return the row. Raise `Denied` if there is none, or cannot be one."""
        named = "" if self.field == "pk" else f"with the {self.field} "
        what = f"{self.model.__name__} {named}{value}"
        try:
            row = self.model._default_manager.get(**{self.field: value})
        except ObjectDoesNotExist as exc:
            raise Denied(f"{what} does not exist") from exc
        except MultipleObjectsReturned as exc:
            raise Mistaken(f"{what} exists more than once") from exc
        except (ValueError, TypeError, OverflowError, ValidationError, DataError) as exc:
            raise Denied(f"{what} cannot exist: {exc}") from exc
        # Databases take 007 for 7, some of them a for A: a channel that no event goes to.
        name = self.model._meta.pk.attname if self.field == "pk" else self.field
        spelling = str(getattr(row, name))
        if spelling != str(value):
            raise Denied(f"{what} is spelt {spelling}")
        return row


def settled(result: object) -> object:
    """Return the result of a call, also where it has to be awaited: a coroutine is true."""
    return async_to_sync(_awaited)(result) if inspect.isawaitable(result) else result


async def _awaited(awaitable: Awaitable[object]) -> object:
    return await awaitable


def _is_forgotten_call(result: object) -> bool:
    return inspect.isroutine(result) or inspect.isgenerator(result) or inspect.isasyncgen(result)


def dotted_name(target: object) -> str:
    """Return the name of a function or a class, of anything else that of its class."""
    named = target if hasattr(target, "__qualname__") else type(target)
    return f"{named.__module__}.{named.__qualname__}"


# What is registered.


def _function_of(target: object, name: str) -> Callable[..., object]:
    """Return what is called, of a class its method `join`."""
    function = getattr(target, "join", None) if isinstance(target, type) else target
    if isinstance(target, type):
        if not inspect.isfunction(function):
            raise ImproperlyConfigured(f"{name} has no method join(self, user, ...).")
        try:
            inspect.signature(target).bind()
        except TypeError as exc:
            raise ImproperlyConfigured(
                f"{name} is made anew for each request, without arguments: {exc}."
            ) from exc
    if not callable(function):
        raise ImproperlyConfigured(f"{name} is neither a function nor a class with a method join.")
    bare = inspect.unwrap(function)
    if inspect.isgeneratorfunction(bare) or inspect.isasyncgenfunction(bare):
        raise ImproperlyConfigured(f"{name} yields. It must return its answer.")
    bound: Callable[..., object] = function
    return bound


def _fitting_signature(
    function: Callable[..., object], is_method: bool, names: list[str], name: str, place: str
) -> inspect.Signature:
    try:
        signature = inspect.signature(function)
    except NameError as exc:
        # From Python 3.14 on, where annotations are evaluated when they are looked at.
        raise ImproperlyConfigured(_unresolved(name, exc)) from exc
    if "request" in names:
        raise ImproperlyConfigured(f"{place}: `request` is what the HTTP request is called.")
    given = [*names, "request"] if "request" in signature.parameters else names
    try:
        signature.bind(*[None] * (1 + is_method), **dict.fromkeys(given))
    except TypeError as exc:
        raise ImproperlyConfigured(
            f"{name} does not fit {place}, which gives it the user, then by name "
            f"{', '.join(names) or 'nothing'}: {exc}."
        ) from exc
    return signature


def _lookup(
    parameter: Parameter, annotation: object, field: str | None, place: str
) -> _Lookup | None:
    """Return how the model of a parameter is found, `None` if it is none."""
    for kind, converter in _CONVERTERS:
        if annotation is kind and parameter.converter is None:
            raise ImproperlyConfigured(
                f"{place} gives text for {parameter.name!r}, which is annotated otherwise. "
                f"Write {{{parameter.name}:{converter}}}."
            )
    if not (isinstance(annotation, type) and issubclass(annotation, Model)):
        if field is not None:
            raise ImproperlyConfigured(
                f"lookups of {place} names {parameter.name!r}, which is not annotated with a model."
            )
        return None
    if field is not None:
        try:
            annotation._meta.get_field(field)
        except FieldDoesNotExist as exc:
            raise ImproperlyConfigured(f"lookups of {place}: {exc}.") from exc
    return _Lookup(annotation, field or "pk")


def _resolved(function: Callable[..., object], annotation: object, name: str) -> object:
    if not isinstance(annotation, str):
        return annotation

    # This annotation alone: those of other parameters may be there for type checkers only.
    class Holder:
        __annotations__ = {"it": annotation}

    try:
        return get_type_hints(Holder, getattr(inspect.unwrap(function), "__globals__", {}))["it"]
    except NameError as exc:
        raise ImproperlyConfigured(_unresolved(name, exc)) from exc


def _unresolved(name: str, exc: NameError) -> str:
    return f"An annotation of {name} cannot be resolved: {exc}. Import it also at run time."
