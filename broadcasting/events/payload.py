"""
The data of an event as JSON, and the rules of what may be sent.

Nothing is sent by accident. Of a model only the fields are sent that its class declares, so
a new column stays private until somebody names it. A value of an unknown type is refused,
and the error gives the path to it. A type is always spelled alike, so that clients can
parse it: every date has six digits of a second.
"""

import dataclasses
import math
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    Sequence,
    Set,
    ValuesView,
)
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, UnionType
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured, ObjectDoesNotExist
from django.db.models import Model, QuerySet
from django.db.models.fields.files import FieldFile
from django.db.models.manager import BaseManager
from django.db.models.query import ModelIterable
from django.utils.duration import duration_iso_string
from django.utils.functional import LazyObject, Promise

from ..exceptions import PayloadError, UndeclaredModel
from ..protocol.messages import encode
from ..protocol.names import is_utf8
from .base import public_fields

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

# Deeper data is a mistake, such as a property that returns a new object each time.
MAX_DEPTH = 64


class Declaration(NamedTuple):
    """
    The fields of a model that may be broadcast.

    Attributes:
        owner: The class that declares them: the model or the nearest of its bases.
        names: The fields.
        harmless: Those that sound like secrets and are none; system checks accept them.
    """

    owner: type
    names: tuple[str, ...]
    harmless: tuple[str, ...]


_registered: dict[type, Declaration] = {}


def register_broadcast_fields(
    model: type[Model], fields: Sequence[str], *, harmless: Sequence[str] = ()
) -> None:
    """
    Declare which `fields` of somebody else's model may be broadcast.

    Call it in `AppConfig.ready`. Subclasses inherit the declaration, and it overrides the
    class's own ``broadcast_fields``. A name is a field, a relation, a property or ``pk``. A
    related model needs a declaration of its own. Name those that sound like secrets and are
    none also in `harmless`, so that system checks accept them; a model of your own has
    ``harmless_broadcast_fields`` for this.

    Raises:
        ImproperlyConfigured: The model has no such name, or it is a method.
    """
    names = _field_names(model, fields)
    for name in names:
        where = f"register_broadcast_fields({model.__name__}, ...) names {name!r}, which"
        if not hasattr(model, name):
            raise ImproperlyConfigured(f"{where} {model._meta.label} does not have.")
        if callable(getattr(model, name)):
            raise ImproperlyConfigured(f"{where} is a method. Name a field or a property.")
    _registered[model] = Declaration(model, names, _field_names(model, harmless))


def declaration_of(model: type[Model]) -> Declaration | None:
    """
    Return the declaration of `model` or of the nearest of its bases, `None` without one.

    Raises:
        ImproperlyConfigured: It is not a list of names.
    """
    for base in model.__mro__:
        if base in _registered:
            return _registered[base]
        own = vars(base)
        if "broadcast_fields" in own:
            names = _field_names(model, own["broadcast_fields"])
            harmless: tuple[str, ...] = ()
            if "harmless_broadcast_fields" in own:  # Asked first: this is done for each row.
                harmless = _field_names(model, own["harmless_broadcast_fields"])
            return Declaration(base, names, harmless)
    return None


def declared_names(model: type[Model], path: str) -> tuple[str, ...]:
    """
    Return the names of the fields of `model` that may be sent.

    `path` says in errors where in the event the model is.

    Raises:
        UndeclaredModel: The model declares none.
        ImproperlyConfigured: Its declaration is not a list of names.
    """
    declared = declaration_of(model)
    if declared is not None:
        return declared.names
    name = model.__name__
    raise UndeclaredModel(
        f"{path} is of the model {model._meta.label}, which does not declare what may be sent "
        f'to browsers. Write broadcast_fields = ("pk", ...) in class {name}, or '
        f'register_broadcast_fields({name}, ["pk", ...]) in AppConfig.ready() if {name} is '
        f"not yours."
    )


def encode_payload(data: object, event: str) -> str:
    """
    Return `data` as JSON text. `event` names it in errors.

    Raises:
        UndeclaredModel: A model in `data` does not declare which of its fields may be sent.
        PayloadError: `data` holds something else that cannot be sent.
    """
    if not isinstance(data, Mapping):
        raise PayloadError(
            f"The data of {event} is of type {_type_name(data)}. It must be a dictionary."
        )
    plain = _plain(data, event, ())
    try:
        return encode(plain)
    except ValueError as exc:  # Python does not write integers of more than 4300 digits.
        raise PayloadError(f"The data of {event} cannot be sent: {exc}") from exc


# Values. `path` says where in the event a value is, `trail` which containers hold it.


def _plain(value: object, path: str, trail: tuple[object, ...]) -> Json:
    value = _unwrapped(value)
    if isinstance(value, Enum):
        return _plain(value.value, path, trail)
    if value is None or isinstance(value, bool):
        return value
    for kind, convert in _SCALARS:
        if isinstance(value, kind):
            return _scalar(value, convert, path)
    for kinds, advice in _REFUSED:
        if isinstance(value, kinds):
            raise PayloadError(f"{path} is of type {_type_name(value)}; {advice}.")
    return _container(value, path, trail)


def _unwrapped(value: object) -> object:
    # Only the type tells: a lazy object claims to be of the class of what it wraps.
    if not issubclass(type(value), LazyObject):
        return value
    str(value.__class__)  # Evaluates it.
    return _unwrapped(value._wrapped)  # type: ignore[attr-defined]  # not in the stubs


def _scalar(value: Any, convert: Callable[[Any], str | int | float | None], path: str) -> Json:
    try:
        plain = convert(value)
    except (ValueError, OverflowError, NotImplementedError) as exc:
        raise PayloadError(f"{path} cannot be sent: {exc}") from exc
    if isinstance(plain, str) and not is_utf8(plain):
        raise PayloadError(f"{path} cannot be sent: it holds a lone surrogate, which is no text.")
    return plain


def _container(value: object, path: str, trail: tuple[object, ...]) -> Json:
    identity = _identity(value)
    if identity in trail:
        raise PayloadError(f"{path} leads back to an object that holds it; leave one of them out.")
    if len(trail) == MAX_DEPTH:
        raise PayloadError(f"{path} is nested more than {MAX_DEPTH} levels deep.")
    trail = (*trail, identity)
    if isinstance(value, Model):
        return _object(_declared_values(value, path), path, trail)
    if isinstance(value, QuerySet):
        return _array(_models(value, path), path, trail)
    if isinstance(value, Mapping):
        return _object(_keyed(value, path), path, trail)
    if isinstance(value, Sequence | KeysView | ValuesView | ItemsView):
        return _array(value, path, trail)
    if isinstance(value, Set):
        return _sorted(_array(value, path, trail))
    if dataclasses.is_dataclass(value) or hasattr(type(value), "__attrs_attrs__"):
        return _object(public_fields(value), path, trail)
    raise PayloadError(
        f"{path} is of type {_type_name(value)}, which cannot be sent. Pass what it holds as "
        f"text, a number, a list, a dictionary or a dataclass."
    )


def _identity(value: object) -> object:
    # A row that is read twice makes two objects, and two rows that name each other no end.
    if isinstance(value, Model) and value.pk is not None:
        return value._meta.concrete_model, value.pk
    return id(value)


def _object(values: Mapping[str, object], path: str, trail: tuple[object, ...]) -> Json:
    return {name: _plain(value, _below(path, name), trail) for name, value in values.items()}


def _array(values: Iterable[object], path: str, trail: tuple[object, ...]) -> list[Json]:
    return [_plain(value, f"{path}[{i}]", trail) for i, value in enumerate(values)]


def _sorted(values: list[Json]) -> list[Json]:
    # By text first: what compares as equal, or not at all, has an order too.
    by_text = sorted(values, key=encode)
    try:
        return sorted(by_text)  # type: ignore[type-var]  # mixed values raise
    except TypeError:
        return by_text


def _keyed(mapping: Mapping[Any, object], path: str) -> dict[str, object]:
    values: dict[str, object] = {}
    for key, value in mapping.items():
        plain = key.value if isinstance(key, Enum) else key
        if isinstance(plain, bool) or not isinstance(plain, str | int | UUID | date):
            raise PayloadError(
                f"{path} has the key {key!r} of type {_type_name(key)}. "
                f"A key is text, a whole number, a UUID, an Enum or a date."
            )
        name = str(_plain(plain, f"A key of {path}", ()))
        if name in values:
            raise PayloadError(f"{path} has two keys that are both sent as {name!r}.")
        values[name] = value
    return values


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if name.isidentifier() else f"{path}[{name!r}]"


def _type_name(value: object) -> str:
    cls = type(value)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )


# Models


def _declared_values(instance: Model, path: str) -> dict[str, object]:
    names = declared_names(type(instance), path)
    return {name: _declared_value(instance, name, path) for name in names}


def _declared_value(instance: Model, name: str, path: str) -> object:
    try:
        value = getattr(instance, name)
    except AttributeError as exc:
        if isinstance(exc, ObjectDoesNotExist):  # The far side of a one-to-one relation.
            return None
        raise PayloadError(
            f"{path} is of the model {instance._meta.label}, whose broadcast_fields name "
            f"{name!r}: {exc}"
        ) from exc
    return value.all() if isinstance(value, BaseManager) else value


def _models(queryset: QuerySet[Any, Any], path: str) -> Iterable[object]:
    if not issubclass(queryset._iterable_class, ModelIterable):
        raise PayloadError(
            f"{path} is a queryset of .values() or .values_list(), which passes by the fields "
            f"that {queryset.model._meta.label} declares. Pass a queryset of its objects, or "
            f"list(...) of this one to send all that it selects."
        )
    declared_names(queryset.model, path)  # An empty queryset is no way to find out later.
    return queryset


def _field_names(model: type[Model], fields: object) -> tuple[str, ...]:
    if isinstance(fields, list | tuple) and all(isinstance(name, str) for name in fields):
        return tuple(fields)
    raise ImproperlyConfigured(
        f"The broadcast fields of {model._meta.label} must be a list or tuple of names, "
        f"not {fields!r}."
    )


# Conversions. What they raise is told with the path.


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(f"{number} is not JSON")
    return float(number)


def _decimal(number: Decimal) -> str:
    if not number.is_finite():
        raise ValueError(f"{number} is not a number that clients can read")
    return str(number)


def _datetime(moment: datetime) -> str:
    if moment.utcoffset() is None:
        return moment.isoformat(timespec="microseconds")
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(timespec="microseconds") + "Z"


def _time(moment: time) -> str:
    if moment.tzinfo is not None:
        raise ValueError("a time with a time zone means nothing without its date")
    return moment.isoformat(timespec="microseconds")


def _url(file: FieldFile) -> str | None:
    return file.url if file else None


# The first type that fits decides: a datetime is a date, too.
_SCALARS: tuple[tuple[type, Callable[[Any], str | int | float | None]], ...] = (
    (str, str.__str__),
    (int, int),
    (float, _finite),
    (Promise, str),
    (datetime, _datetime),
    (date, date.isoformat),
    (time, _time),
    (timedelta, duration_iso_string),
    (Decimal, _decimal),
    (UUID, str),
    (PurePath, str),
    (FieldFile, _url),
)
_REFUSED: tuple[tuple[type | UnionType, str], ...] = (
    (bytes | bytearray | memoryview, "decode it, or encode it as base64 text"),
    (BaseManager, "write .all() after it, or name it in the broadcast fields of its model"),
    (Iterator, "write list(...) around it"),
    (FunctionType | MethodType | BuiltinFunctionType | partial | type, "pass what it returns"),
)
