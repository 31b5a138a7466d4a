"""The fields that models declare."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model

from broadcasting import BroadcastsModelEvents, register_broadcast_fields
from broadcasting.checks import models, run
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
    ("names", "are_sensitive"),
    [
        ("password old_password PASSWORD api_key apiKey stripe_api_key_live APIKey", True),
        ("refresh_token client_secret credit_card card_number ssn _otp", True),
        ("name key card tokenizer secretary keyboard_api pinned passport pk", False),
    ],
)
def test_names_that_sound_like_secrets(names: str, are_sensitive: bool) -> None:
    """Whole words count, and two beside each other in their order, in whatever spelling."""
    assert {sounds_sensitive(name) for name in names.split()} == {are_sensitive}


def test_w010_every_declared_field_with_such_a_name(declare: Callable[..., None]) -> None:
    """Of the model that declares it; those that it does not declare cannot leave."""
    assert run(check_declared_fields) == []
    declare(broadcast_fields=["pk", "password", "reset_token"])
    first, second = run(check_declared_fields)
    assert (first.id, second.id) == ("broadcasting.W010",) * 2
    assert first.obj is second.obj is User
    assert "'password'" in first.msg
    assert "'reset_token'" in second.msg


def test_harmless_fields_pass(declare: Callable[..., None]) -> None:
    """Registered ones go before those of the class, and have harmless ones of their own."""
    declare(broadcast_fields=["token", "password"], harmless_broadcast_fields=("token",))
    (warning,) = run(check_declared_fields)
    assert "'password'" in warning.msg
    register_broadcast_fields(User, ["password", "last_login"])
    (warning,) = run(check_declared_fields)
    assert "'password'" in warning.msg
    register_broadcast_fields(User, ["password"], harmless=["password"])
    assert run(check_declared_fields) == []


def test_subclasses_are_not_reported_again(
    declare: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless they declare fields of their own."""
    child: Any = SimpleNamespace(__mro__=(object, User))
    monkeypatch.setattr(models, "apps", SimpleNamespace(get_models=lambda: [User, child]))
    declare(broadcast_fields=["token"])
    assert len(run(check_declared_fields)) == 1


@pytest.mark.parametrize("name", ["usrname", "user_set"])
def test_w017_a_name_that_is_none(declare: Callable[..., None], name: str) -> None:
    """Otherwise the first row that is sent would fail."""
    declare(broadcast_fields=["pk", "username", "is_anonymous", name])
    (warning,) = run(check_declared_names)
    assert (warning.id, warning.obj) == ("broadcasting.W017", User)
    assert repr(name) in warning.msg


@pytest.mark.parametrize("name", ["groups", "logentry_set"])
def test_w017_a_relation_to_a_model_that_declares_nothing(
    declare: Callable[..., None], name: str
) -> None:
    """Forwards and backwards; once the other model declares something, all is well."""
    declare(broadcast_fields=["pk", name])
    (warning,) = run(check_declared_names)
    assert warning.id == "broadcasting.W017"
    assert repr(name) in warning.msg
    far: type[Model] = getattr(User, name).rel.model if name == "groups" else LogEntry
    assert f"register_broadcast_fields({far.__name__}," in str(warning.hint)
    register_broadcast_fields(far, ["pk"])
    assert run(check_declared_names) == []


class Declares(BroadcastsModelEvents, Model):
    """Declares a name that it cannot send."""

    broadcast_fields = ("nowhere",)

    class Meta:
        abstract = True


class SendsItsOwn(Declares):
    """Sends none of what it declares."""

    class Meta:
        abstract = True

    def broadcast_with(self, event: Change) -> dict[str, object]:
        return {"changed": event}


class Behind(Model, BroadcastsModelEvents):  # type: ignore[misc, metaclass]  # mypy sees it, too
    """Has its bases in the wrong order, so that a part of the mixin is hidden."""

    broadcast_fields = ("pk",)

    class Meta:
        abstract = True


@pytest.mark.parametrize(
    ("model", "ids"),
    [
        (Declares, ["broadcasting.W017"]),
        (SendsItsOwn, []),
        (Behind, ["broadcasting.E006"]),
        (Group, []),
    ],
)
def test_models_that_broadcast_their_events(
    monkeypatch: pytest.MonkeyPatch, model: type[Model], ids: list[str]
) -> None:
    """Others need declare nothing."""
    monkeypatch.setattr(models, "apps", SimpleNamespace(get_models=lambda: [model]))
    found = [*run(check_declared_names), *run(check_model_events)]
    assert [message.id for message in found] == ids


@pytest.mark.parametrize("attribute", ["broadcast_fields", "harmless_broadcast_fields"])
def test_e005_a_declaration_that_is_no_list(declare: Callable[..., None], attribute: str) -> None:
    """Otherwise the first event with the model would fail."""
    declare(**{"broadcast_fields": ["token"], attribute: "token"})
    (error,) = run(check_declared_fields)
    assert error.id == "broadcasting.E005"
    assert "auth.User must be a list or tuple of names, not 'token'" in error.msg
    with pytest.raises(ImproperlyConfigured, match="list or tuple of names"):
        register_broadcast_fields(User, ["password"], harmless="password")
