"""``BROADCASTING["APPS"]``: its secrets, and the origins that may open sockets."""

from collections.abc import Iterator

from django.conf import settings
from django.core.checks import CheckMessage

from ..applications import Application
from ..conf import get_settings
from .problem import problem

# From the documents of Pusher, Laravel, soketi and this project.
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

# An origin that nobody has listed.
_STRANGER = "https://stranger.invalid"


def check_secrets() -> Iterator[CheckMessage]:
    """Report secrets that are known or can be guessed. None of them is repeated."""
    for name, secret in dict(_secrets()).items():
        if secret.lower() in SAMPLES or secret.lower().startswith(SAMPLE_PREFIXES):
            yield problem(
                "broadcasting.E004",
                f"{name} is a sample, or one for development that lies in the code: whoever knows "
                f"it can join every private channel and send any event.",
                _remedy(name),
            )
        # Of the length of SECRET_KEY Django has a check of its own.
        elif name != "SECRET_KEY" and (
            len(secret) < MIN_LENGTH or len(set(secret)) < MIN_CHARACTERS
        ):
            yield problem(
                "broadcasting.W013",
                f"{name} has {len(secret)} characters, {len(set(secret))} of them different: it "
                f"can be guessed.",
                _remedy(name),
            )
    for i, app in _enabled_apps():
        key = app.encryption_master_key
        if key is not None and len(set(key)) < MIN_BYTES:
            yield problem(
                "broadcasting.W013",
                f'BROADCASTING["APPS"][{i}]["ENCRYPTION_MASTER_KEY_BASE64"] is not a random key: '
                f"of its 32 bytes only {len(set(key))} differ.",
                "Make one: openssl rand -base64 32.",
            )


def check_origins() -> Iterator[CheckMessage]:
    """Report applications whose sockets pages of any site may open."""
    for i, app in _enabled_apps():
        if app.accepts_origin(_STRANGER):
            yield problem(
                "broadcasting.W014",
                f"{_origin_setting(i, app)} has '*', so that pages of every site may open sockets.",
                'List your own sites in "ALLOWED_ORIGINS": ["https://example.com"].',
            )


def _enabled_apps() -> Iterator[tuple[int, Application]]:
    """Yield each application that takes part, and its place in ``APPS``."""
    return ((i, app) for i, app in enumerate(get_settings().apps) if app.enabled)


def _secrets() -> Iterator[tuple[str, str]]:
    """Yield the name and the value of every secret that somebody wrote down."""
    token = get_settings().server.metrics_token
    if token is not None:
        yield 'BROADCASTING["SERVER"]["METRICS_TOKEN"]', token
    entries = getattr(settings, "BROADCASTING", {}).get("APPS") or [{}]
    for i, app in _enabled_apps():
        if "SECRET" in entries[i]:
            yield f'BROADCASTING["APPS"][{i}]["SECRET"]', app.secret
        else:
            yield "SECRET_KEY", settings.SECRET_KEY  # The application's is derived from it.
        for j, secret in enumerate(app.secret_fallbacks):
            yield f'BROADCASTING["APPS"][{i}]["SECRET_FALLBACKS"][{j}]', secret


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
