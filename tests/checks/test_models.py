"""What is reported of the fields that models declare."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model

from broadcasting import BroadcastsModelEvents, register_broadcast_fields
from broadcasting.checks import models
from broadcasting.checks.models import (
    check_declared_fields,
    check_declared_names,
    check_model_events,
    sounds_sensitive,
)
from broadcasting.events import payload
from broadcasting.model_events.mixin import Change


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what makes `User`, the only model beside `Group`, declare attributes."""
    monkeypatch.setattr(payload, "_registered", {})
    monkeypatch.setattr(models, "apps", SimpleNamespace(get_models=lambda: [User, Group]))

    def declare(**attributes: object) -> None:
        for name, value in attributes.items():
            monkeypatch.setattr(User, name, value, raising=False)

    return declare


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "old_password",
        "PASSWORD",
        "api_key",
        "apiKey",
        "stripe_api_key_live",
        "APIKey",
        "refresh_token",
        "client_secret",
        "credit_card",
        "card_number",
        "ssn",
        "_otp",
    ],
)
def test_names_that_sound_like_secrets(name: str) -> None:
    """By a word, or by two beside each other, in whatever spelling."""
    assert sounds_sensitive(name)


@pytest.mark.parametrize(
    "name",
    ["name", "key", "card", "tokenizer", "secretary", "keyboard_api", "pinned", "passport", "pk"],
)
def test_names_that_only_look_like_it(name: str) -> None:
    """Words count as a whole, and pairs in their order."""
    assert not sounds_sensitive(name)


def test_w010_every_declared_field_with_such_a_name(declare: Callable[..., None]) -> None:
    """Of the model that declares it; those that it does not declare cannot leave."""
    assert check_declared_fields(None) == []
    declare(broadcast_fields=["pk", "password", "reset_token"])
    first, second = check_declared_fields(None)
    assert (first.id, second.id) == ("broadcasting.W010",) * 2
    assert first.obj is second.obj is User
    assert "'password'" in first.msg
    assert "'reset_token'" in second.msg


def test_harmless_fields_pass(declare: Callable[..., None]) -> None:
    """Those that are named, and no others."""
    declare(broadcast_fields=["token", "password"], harmless_broadcast_fields=("token",))
    (warning,) = check_declared_fields(None)
    assert "'password'" in warning.msg


def test_registered_fields_are_looked_at(declare: Callable[..., None]) -> None:
    """They go before those of the class, and have harmless ones of their own."""
    declare(broadcast_fields=["token"], harmless_broadcast_fields=["password"])
    register_broadcast_fields(User, ["password", "last_login"])
    (warning,) = check_declared_fields(None)
    assert "'password'" in warning.msg
    register_broadcast_fields(User, ["password"], harmless=["password"])
    assert check_declared_fields(None) == []


def test_subclasses_are_not_told_of_again(
    declare: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless they declare fields of their own."""
    child: Any = SimpleNamespace(__mro__=(object, User))
    monkeypatch.setattr(models, "apps", SimpleNamespace(get_models=lambda: [User, child]))
    declare(broadcast_fields=["token"])
    assert len(check_declared_fields(None)) == 1


@pytest.mark.parametrize("name", ["usrname", "user_set"])
def test_w017_a_name_that_is_none(declare: Callable[..., None], name: str) -> None:
    """Else the first row that is sent would say so."""
    declare(broadcast_fields=["pk", "username", "is_anonymous", name])
    (warning,) = check_declared_names(None)
    assert (warning.id, warning.obj) == ("broadcasting.W017", User)
    assert repr(name) in warning.msg


@pytest.mark.parametrize("name", ["groups", "logentry_set"])
def test_w017_a_relation_to_a_model_that_declares_nothing(
    declare: Callable[..., None], name: str
) -> None:
    """Forwards and backwards; once the other model declares something, all is well."""
    declare(broadcast_fields=["pk", name])
    (warning,) = check_declared_names(None)
    assert warning.id == "broadcasting.W017"
    assert repr(name) in warning.msg
    far: type[Model] = getattr(User, name).rel.model if name == "groups" else LogEntry
    assert f"register_broadcast_fields({far.__name__}," in str(warning.hint)
    register_broadcast_fields(far, ["pk"])
    assert check_declared_names(None) == []


class Tells(BroadcastsModelEvents, Model):
    """Tells of changes of a name that it does not send."""

    broadcast_fields = ("nowhere",)

    class Meta:
        abstract = True


class TellsItsOwn(Tells):
    """Says itself what is sent."""

    class Meta:
        abstract = True

    def broadcast_with(self, event: Change) -> dict[str, object]:
        return {"changed": event}


@pytest.mark.parametrize(("model", "count"), [(Tells, 1), (TellsItsOwn, 0)])
def test_who_writes_the_data_declares_what_changes(
    monkeypatch: pytest.MonkeyPatch, model: type[Model], count: int
) -> None:
    """Nothing of the declaration is sent then."""
    monkeypatch.setattr(models, "apps", SimpleNamespace(get_models=lambda: [model]))
    assert len(check_declared_names(None)) == count


@pytest.mark.parametrize("attribute", ["broadcast_fields", "harmless_broadcast_fields"])
def test_e005_a_declaration_that_is_no_list(declare: Callable[..., None], attribute: str) -> None:
    """Else the first event with the model would say so."""
    declare(**{"broadcast_fields": ["token"], attribute: "token"})
    (error,) = check_declared_fields(None)
    assert error.id == "broadcasting.E005"
    assert error.msg == (
        "The broadcast fields of auth.User must be a list or tuple of names, not 'token'."
    )


def test_harmless_fields_are_registered_as_a_list(declare: Callable[..., None]) -> None:
    """As the fields themselves; nothing is registered if they are not."""
    with pytest.raises(ImproperlyConfigured, match="must be a list or tuple of names"):
        register_broadcast_fields(User, ["password"], harmless="password")
    assert check_declared_fields(None) == []


class Behind(Model, BroadcastsModelEvents):  # type: ignore[misc, metaclass]  # mypy sees it, too
    """Declares what it sends, and has its bases in the wrong order."""

    broadcast_fields = ("pk",)

    class Meta:
        abstract = True


class Before(BroadcastsModelEvents, Model):
    """Does it right."""

    broadcast_fields = ("pk",)

    class Meta:
        abstract = True


@pytest.mark.parametrize(("model", "ids"), [(Behind, ["broadcasting.E006"]), (Before, [])])
def test_e006_a_mixin_in_the_wrong_place(
    monkeypatch: pytest.MonkeyPatch, model: type[Model], ids: list[str]
) -> None:
    """Behind `Model` a part of it is hidden, without an error."""
    monkeypatch.setattr(models, "apps", SimpleNamespace(get_models=lambda: [model]))
    found = check_model_events(None)
    assert [message.id for message in found] == ids
    assert all("BroadcastsModelEvents, models.Model" in str(message.hint) for message in found)


def test_models_that_broadcast_nothing_of_themselves_pass(declare: Callable[..., None]) -> None:
    """They need declare nothing."""
    assert payload.declaration_of(Group) is None
    assert check_model_events(None) == []
