"""``BROADCASTING["APPS"]``: with which secrets, and from where, clients are let in."""

from collections.abc import Iterator, Sequence

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured

from ..applications import Application
from ..conf import get_settings

# Of the documents of Pusher, Laravel, soketi and this project.
SAMPLES = {
    "7ad3773142a6692b25b8",
    "app-secret",
    "bench-secret",
    "change-me",
    "changeme",
    "secret",
    "your-app-secret",
    "your-pusher-secret",
    "your-secret",
    "…",
    "...",
}
# What `startproject` writes, and what projects write into the settings that they publish.
SAMPLE_PREFIXES = ("django-insecure-", "insecure-")
MIN_LENGTH = 16  # Pusher's own have 20 hexadecimal digits.
MIN_CHARACTERS = 5  # Different ones, as Django asks of SECRET_KEY.
# Of 32 random bytes about 30 differ.
MIN_BYTES = 17

# A page that nobody has listed.
_STRANGER = "https://stranger.invalid"


def check_secrets(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """Report secrets that are known, or can be guessed. None of them is repeated."""
    try:
        named = dict(_secrets())
    except ImproperlyConfigured:
        return []  # `check_settings` says so.
    found: list[CheckMessage] = []
    for name, secret in named.items():
        if secret.lower() in SAMPLES or secret.lower().startswith(SAMPLE_PREFIXES):
            found.append(
                Error(
                    f"{name} is a sample, or one for development that lies in the code: whoever "
                    f"knows it can join every private channel and send any event.",
                    hint=f"{_remedy(name)} See docs/checks.md#broadcastinge004",
                    id="broadcasting.E004",
                )
            )
        # Of the length of SECRET_KEY Django has a check of its own.
        elif name != "SECRET_KEY" and (
            len(secret) < MIN_LENGTH or len(set(secret)) < MIN_CHARACTERS
        ):
            found.append(
                Warning(
                    f"{name} has {len(secret)} characters, {len(set(secret))} of them different: "
                    f"it can be guessed.",
                    hint=f"{_remedy(name)} See docs/checks.md#broadcastingw013",
                    id="broadcasting.W013",
                )
            )
    return found + _weak_master_keys()


def check_origins(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """Report applications whose sockets any page of any site may open."""
    return [
        Warning(
            f"{_origin_setting(i, app)} has '*', so that pages of every site may open sockets.",
            hint='List your own sites in "ALLOWED_ORIGINS": ["https://example.com"]. '
            "See docs/checks.md#broadcastingw014",
            id="broadcasting.W014",
        )
        for i, app in enumerate(_enabled_apps())
        if app is not None and app.accepts_origin(_STRANGER)
    ]


def _enabled_apps() -> list[Application | None]:
    """Return each application at its place in ``APPS``, `None` for one that takes no part."""
    try:
        return [app if app.enabled else None for app in get_settings().apps]
    except ImproperlyConfigured:
        return []


def _secrets() -> Iterator[tuple[str, str]]:
    """Yield the name and the value of every secret that somebody wrote down."""
    apps = get_settings().apps
    entries = getattr(settings, "BROADCASTING", {}).get("APPS") or [{}]
    for i, (entry, app) in enumerate(zip(entries, apps, strict=True)):
        if not app.enabled:
            continue
        if "SECRET" in entry:
            yield f'BROADCASTING["APPS"][{i}]["SECRET"]', app.secret
        else:
            yield "SECRET_KEY", settings.SECRET_KEY  # The application's is derived from it.
        for j, secret in enumerate(app.secret_fallbacks):
            yield f'BROADCASTING["APPS"][{i}]["SECRET_FALLBACKS"][{j}]', secret
    token = get_settings().server.metrics_token
    if token is not None:
        yield 'BROADCASTING["SERVER"]["METRICS_TOKEN"]', token


def _weak_master_keys() -> list[CheckMessage]:
    return [
        Warning(
            f'BROADCASTING["APPS"][{i}]["ENCRYPTION_MASTER_KEY_BASE64"] is no random key: of its '
            f"32 bytes only {len(set(app.encryption_master_key))} differ.",
            hint="Make one: openssl rand -base64 32. See docs/checks.md#broadcastingw013",
            id="broadcasting.W013",
        )
        for i, app in enumerate(_enabled_apps())
        if app is not None
        and app.encryption_master_key is not None
        and len(set(app.encryption_master_key)) < MIN_BYTES
    ]


def _remedy(name: str) -> str:
    if name == "SECRET_KEY":
        return (
            "The secret of the application is derived from it: give the site a long random key "
            'of its own, or the application a "SECRET".'
        )
    return "Put a random text into the environment, openssl rand -hex 20, and read it from there."


def _origin_setting(i: int, app: Application) -> str:
    if "*" in app.allowed_hosts:
        return f'ALLOWED_HOSTS, which BROADCASTING["APPS"][{i}] has no origins of its own beside,'
    return f'BROADCASTING["APPS"][{i}]["ALLOWED_ORIGINS"]'
