"""Environment variables of the demo's settings."""

import runpy
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

import whik
from broadcasting.conf import get_settings


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that evaluates the settings under some variables."""

    def settings(**env: str) -> dict[str, Any]:
        with monkeypatch.context() as patch:
            patch.setenv("WHIK_DATABASE", str(tmp_path / "data" / "db.sqlite3"))
            for name, value in env.items():
                patch.setenv(name, value)
            return runpy.run_path(str(Path(whik.__path__[0]) / "settings.py"))

    return settings


def test_nothing_is_needed_for_development(load: Any) -> None:
    settings = load()
    assert settings["DEBUG"] is True
    assert settings["BROADCASTING"]["DEFAULT"] == "channels"
    layer = settings["CHANNEL_LAYERS"]["default"]
    assert layer["BACKEND"] == "channels.layers.InMemoryChannelLayer"
    assert settings["SESSION_COOKIE_SECURE"] is False
    assert settings["DATABASE"].parent.is_dir()


def test_mistakes_are_refused(load: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="environment variable SECRET_KEY"):
        load(DJANGO_DEBUG="0")
    with pytest.raises(ImproperlyConfigured, match="'pubsub' or 'core'"):
        load(CHANNEL_LAYER="pubsubs")


def test_production_uses_secure_cookies(load: Any) -> None:
    settings = load(DJANGO_DEBUG="0", SECRET_KEY="s", ALLOWED_HOSTS="a.example,b.example")
    assert settings["DEBUG"] is False
    assert settings["SECRET_KEY"] == "s"
    assert settings["ALLOWED_HOSTS"] == ["a.example", "b.example"]
    assert settings["SESSION_COOKIE_SECURE"] is True
    assert settings["CSRF_COOKIE_SECURE"] is True
    assert settings["LANGUAGE_COOKIE_SECURE"] is True


@pytest.mark.parametrize("collected", [True, False])
def test_production_serves_collected_files(
    load: Any, monkeypatch: pytest.MonkeyPatch, collected: bool
) -> None:
    middleware = "whitenoise.middleware.WhiteNoiseMiddleware"
    is_dir = Path.is_dir
    monkeypatch.setattr(
        Path, "is_dir", lambda path: collected if path.name == "static" else is_dir(path)
    )
    production = load(DJANGO_DEBUG="0", SECRET_KEY="s")["MIDDLEWARE"]
    assert (middleware in production) is collected
    if collected:
        before = production[production.index(middleware) - 1]
        assert before == "django.middleware.security.SecurityMiddleware"
    assert middleware not in load()["MIDDLEWARE"]


def test_each_driver_has_an_alias(load: Any) -> None:
    settings = load(BROADCAST_CONNECTION="redis", REDIS_URL="redis://r/1")
    broadcasting = settings["BROADCASTING"]
    assert broadcasting["DEFAULT"] == "redis"
    assert set(broadcasting["CONNECTIONS"]) == {
        *("channels", "memory", "redis", "log", "null", "pusher")
    }
    assert broadcasting["CONNECTIONS"]["redis"]["URL"] == "redis://r/1"


def test_application_has_derived_credentials(load: Any) -> None:
    settings = load()
    with override_settings(SECRET_KEY=settings["SECRET_KEY"]):
        with override_settings(BROADCASTING=settings["BROADCASTING"]):
            [app] = get_settings().apps
        with override_settings(BROADCASTING={"DEFAULT": "memory"}):
            [derived] = get_settings().apps
    assert (app.id, app.key, app.secret) == (derived.id, derived.key, derived.secret)
    assert (app.client_events, app.presence_grace) == (True, 3)


@pytest.mark.parametrize(
    ("name", "backend", "options"),
    [
        ("", "pubsub.RedisPubSubChannelLayer", {"hosts"}),
        ("core", "core.RedisChannelLayer", {"hosts", "capacity", "group_expiry"}),
    ],
)
def test_redis_carries_the_layer(load: Any, name: str, backend: str, options: set[str]) -> None:
    settings = load(REDIS_URL="redis://r/1", CHANNEL_LAYER=name)
    layer = settings["CHANNEL_LAYERS"]["default"]
    assert layer["BACKEND"] == f"channels_redis.{backend}"
    assert set(layer["CONFIG"]) == options
    [host] = layer["CONFIG"]["hosts"]
    assert (host["address"], host["socket_timeout"]) == ("redis://r/1", None)
