"""The rules for channels."""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType

import pytest
from django.apps import AppConfig
from django.apps.registry import apps

from broadcasting import channel_authorizer, user_authenticator
from broadcasting.authorization import rules as authorization
from broadcasting.checks import run
from broadcasting.checks.rules import check_channel_auth, check_channel_patterns


def everybody(user: object, **names: object) -> bool:
    return True


def test_w001_rules_that_match_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pair once, in the order that decides, with a name to look at."""
    monkeypatch.setattr(authorization, "_rules", [])
    for pattern in ("chat.{room:int}", "lobby", "chat.{room}", "chat.7", "chat.{room}.typing"):
        channel_authorizer(pattern, everybody)
    found = run(check_channel_patterns)
    assert {warning.id for warning in found} == {"broadcasting.W001"}
    pairs = [
        ("'chat.{room:int}'", "'chat.{room}'", "'chat.1'"),
        ("'chat.{room:int}'", "'chat.7'"),
        ("'chat.{room}'", "'chat.7'"),
    ]
    for warning, names in zip(found, pairs, strict=True):
        assert all(name in warning.msg for name in names)


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Return the empty ``channel_auth.py`` of the only app, and no rules."""
    monkeypatch.setattr(authorization, "_rules", [])
    monkeypatch.setattr(authorization, "_sign_in_handlers", [])
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
    (warning,) = run(check_channel_auth)
    assert warning.id == "broadcasting.W009"
    assert warning.msg.startswith("shop.channel_auth registers nothing")


@pytest.mark.parametrize("module", ["shop.channel_auth", "shop.rules.private"])
@pytest.mark.parametrize("register", [partial(channel_authorizer, "lobby"), user_authenticator])
def test_a_rule_of_the_app_passes(
    shop: ModuleType, register: Callable[[Callable[..., bool]], object], module: str
) -> None:
    """Wherever in the app it is defined, also one for signing in."""
    register(function(module))
    assert run(check_channel_auth) == []


def test_a_rule_from_elsewhere_passes(shop: ModuleType) -> None:
    """If the module names it, or the module that it is in."""
    handler = function("elsewhere.rules")
    channel_authorizer("lobby", handler)
    assert len(run(check_channel_auth)) == 1
    vars(shop)["handler"] = handler
    assert run(check_channel_auth) == []
    del vars(shop)["handler"]
    vars(shop)["rules"] = ModuleType("elsewhere.rules")
    assert run(check_channel_auth) == []
