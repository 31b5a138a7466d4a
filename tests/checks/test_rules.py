"""What is reported of the rules for channels."""

import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
from django.apps import AppConfig
from django.apps.registry import apps
from django.core.checks import Warning, run_checks

from broadcasting import channel_authorizer, user_authenticator
from broadcasting.authorization import rules as authorization
from broadcasting.checks.rules import check_channel_auth, check_channel_patterns


def everybody(user: object, **names: object) -> bool:
    return True


def test_w001_rules_that_match_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pair once, in the order that decides, with a name to look at."""
    monkeypatch.setattr(authorization, "_rules", [])
    for pattern in ("chat.{room:int}", "lobby", "chat.{room}", "chat.7", "chat.{room}.typing"):
        channel_authorizer(pattern, everybody)
    found = check_channel_patterns(None)
    assert [type(warning) for warning in found] == [Warning] * 3
    assert {warning.id for warning in found} == {"broadcasting.W001"}
    first, second, third = (warning.msg for warning in found)
    assert first == (
        f"The channel patterns 'chat.{{room:int}}' ({__name__}.everybody) and 'chat.{{room}}' "
        f"({__name__}.everybody) both match names such as 'chat.1', for which the first decides."
    )
    assert "'chat.{room:int}'" in second
    assert "'chat.7'" in second
    assert "'chat.{room}'" in third
    assert "'chat.7'" in third


def test_rules_that_share_no_name_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no rules at all."""
    monkeypatch.setattr(authorization, "_rules", [])
    assert check_channel_patterns(None) == []
    for pattern in ("chat.{room:int}", "chat.{room}.typing", "room.{room}"):
        channel_authorizer(pattern, everybody)
    assert check_channel_patterns(None) == []


def test_django_runs_the_check_of_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the others; a warning does not stop the site."""
    monkeypatch.setattr(authorization, "_rules", [])
    for handler in (everybody, lambda user, room: True):
        channel_authorizer("chat.{room}", handler)
    assert "broadcasting.W001" in [m.id for m in run_checks(tags=["broadcasting"])]


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Return the empty ``channel_auth.py`` of the only app, and no rules."""
    monkeypatch.setattr(authorization, "_rules", [])
    monkeypatch.setattr(authorization, "_sign_in_rules", [])
    module = ModuleType("shop.channel_auth")
    monkeypatch.setitem(sys.modules, "shop.channel_auth", module)
    package = ModuleType("shop")
    package.__path__ = ["/nowhere"]
    monkeypatch.setattr(apps, "get_app_configs", lambda: [AppConfig("shop", package)])
    return module


def function(module: str) -> Callable[..., bool]:
    """Return a function that `module` defines."""

    def handler(user: object) -> bool:
        return True

    handler.__module__ = module
    return handler


def test_w009_a_module_that_registers_nothing(shop: ModuleType) -> None:
    """Also where another app has rules, and where it has all that it would take."""
    vars(shop).update(channel_authorizer=channel_authorizer, lobby=function("shop.channel_auth"))
    channel_authorizer("lobby", function("other.channel_auth"))
    (warning,) = check_channel_auth(None)
    assert warning.id == "broadcasting.W009"
    assert warning.msg.startswith("shop.channel_auth registers nothing")


@pytest.mark.parametrize("module", ["shop.channel_auth", "shop.rules.private"])
def test_a_rule_of_the_app_passes(shop: ModuleType, module: str) -> None:
    """Wherever in the app it is defined."""
    channel_authorizer("lobby", function(module))
    assert check_channel_auth(None) == []


def test_a_rule_from_elsewhere_passes(shop: ModuleType) -> None:
    """If the module names it, or the module that it is in."""
    handler = function("elsewhere.rules")
    channel_authorizer("lobby", handler)
    assert len(check_channel_auth(None)) == 1
    vars(shop)["handler"] = handler
    assert check_channel_auth(None) == []
    del vars(shop)["handler"]
    vars(shop)["rules"] = ModuleType("elsewhere.rules")
    assert check_channel_auth(None) == []


def test_a_rule_for_signing_in_passes(shop: ModuleType) -> None:
    """It registers something, if no channel."""
    user_authenticator(function("shop.channel_auth"))
    assert check_channel_auth(None) == []


def test_an_app_without_the_module_passes(
    shop: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most apps have no channels."""
    monkeypatch.delitem(sys.modules, "shop.channel_auth")
    assert check_channel_auth(None) == []
