"""{% broadcasting_scripts %} with the client libraries it loads, and {% broadcast_listen %}."""

import hashlib
import re
from pathlib import Path
from types import ModuleType

import pytest
from django.contrib.auth.models import User
from django.template import Context, RequestContext, Template
from django.test import Client, RequestFactory
from django.urls import URLPattern, clear_script_prefix, include, path, set_script_prefix
from pytest_django import Settings

import broadcasting
from broadcasting import BroadcastError, Channel, PresenceChannel
from broadcasting.conf import get_settings
from broadcasting.exceptions import InvalidChannel

STATIC = Path(broadcasting.__path__[0]) / "static" / "broadcasting"
VENDOR = STATIC / "vendor"


def render(arguments: str = "", **context: object) -> str:
    """Return the HTML of ``{% broadcasting_scripts %}``."""
    source = f"{{% load broadcasting %}}{{% broadcasting_scripts {arguments} %}}"
    return Template(source).render(Context(context))


@pytest.mark.parametrize(
    ("arguments", "build"),
    [("", "pusher"), ("encrypted=True", "pusher-with-encryption")],
)
def test_scripts_come_in_the_order_they_need(arguments: str, build: str) -> None:
    names = re.findall(r'src="/static/broadcasting/([^"]+)"', render(arguments))
    assert names == [f"vendor/{build}.min.js", "vendor/echo.iife.js", "echo.js"]
    assert all((STATIC / name).is_file() for name in names)


def test_defaults() -> None:
    html = render()
    assert f'data-key="{get_settings().apps[0].key}" data-path=""' in html
    assert 'data-auth-endpoint="/broadcasting/auth"' in html
    assert 'data-user-auth-endpoint="/broadcasting/user-auth"' in html
    assert "nonce" not in html


def test_settings_are_attributes(settings: Settings) -> None:
    settings.BROADCASTING = {
        "APPS": [{"ID": "a", "KEY": "k", "SECRET": "hush"}],
        "SERVER": {"PATH": '/w"<s/'},
    }
    html = render()
    assert 'data-key="k"' in html
    assert 'data-path="/w&quot;&lt;s"' in html
    assert "hush" not in html
    assert re.findall(r"<script[^>]*>([^<]*)</script>", html) == ["", "", ""]


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ([path("live/", include("broadcasting.urls"))], "/app/live/broadcasting/auth"),
        ([path("live/", include("broadcasting.urls", "mine"))], "/app/live/broadcasting/auth"),
        ([], "/broadcasting/auth"),
    ],
    ids=["below a path", "under a name", "absent"],
)
def test_endpoints_have_the_prefix_of_the_site(
    routes: list[URLPattern], expected: str, settings: Settings
) -> None:
    urls = ModuleType("urls_of_a_site")
    urls.urlpatterns = routes  # type: ignore[attr-defined]  # as modules have
    settings.ROOT_URLCONF = urls
    set_script_prefix("/app/")
    try:
        html = render()
    finally:
        clear_script_prefix()
    assert f'data-auth-endpoint="{expected}"' in html


def test_csrf_token_is_an_attribute() -> None:
    request = RequestFactory().get("/")
    source = Template("{% load broadcasting %}{% broadcasting_scripts %}")
    html = source.render(RequestContext(request))
    (token,) = re.findall(r'data-csrf-token="(\w{64})"', html)
    assert request.META["CSRF_COOKIE_NEEDS_UPDATE"] is True
    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = request.META["CSRF_COOKIE"]
    body = {"socket_id": "not one"}
    answer = client.post("/broadcasting/user-auth", body, headers={"X-CSRF-TOKEN": token})
    assert answer.json() == {"error": "socket_id is not valid"}


def test_csrf_token_may_be_left_out() -> None:
    request = RequestFactory().get("/")
    source = Template("{% load broadcasting %}{% broadcasting_scripts csrf=False %}")
    assert "csrf" not in source.render(RequestContext(request))
    assert "CSRF_COOKIE" not in request.META


def test_nonce_is_on_every_script() -> None:
    assert render("nonce=nonce", nonce='r4n"d').count('nonce="r4n&quot;d"') == 3


def listen(arguments: str, **context: object) -> str:
    """Return the HTML of ``{% broadcast_listen %}``."""
    source = f"{{% load broadcasting %}}{{% broadcast_listen {arguments} %}}"
    return Template(source).render(Context(context))


def test_broadcast_listen_writes_an_element_and_a_module() -> None:
    assert listen('"news"') == (
        '<broadcast-listen channel="news" event="broadcast:html"></broadcast-listen>'
        '<script src="/static/broadcasting/listen.js" type="module"></script>'
    )
    assert (STATIC / "listen.js").is_file()


def test_arguments_of_broadcast_listen_are_attributes() -> None:
    html = listen('"news" "Row" "#a > b" refresh="/rows/?a&b" nonce=n', n="r4n")
    assert (
        '<broadcast-listen channel="news" event="Row" refresh="/rows/?a&amp;b" '
        'target="#a &gt; b">' in html
    )
    assert html.count('nonce="r4n"') == 1


@pytest.mark.parametrize(
    ("channel", "name"),
    [
        (Channel("news"), "news"),
        (PresenceChannel("room.1"), "presence-room.1"),
        ("private-room.1", "private-room.1"),
        (User(pk=7), "private-auth.User.7"),
    ],
)
def test_channel_may_be_given_in_each_way(channel: object, name: str) -> None:
    if isinstance(channel, User):
        channel._state.adding = False
    assert f'channel="{name}"' in listen("channel", channel=channel)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ('""', InvalidChannel, "'' cannot name a channel"),
        ("absent", InvalidChannel, "'' cannot name a channel"),
        ("7", InvalidChannel, "7 is not a channel"),
        ('"#server-to-user-7"', InvalidChannel, "Give the user"),
        ('"news" "client-html"', BroadcastError, "'client-html' cannot carry HTML"),
        ('"news" ""', BroadcastError, "'' cannot name an event"),
        ('"news" refresh="/rows/"', ValueError, "needs target="),
    ],
)
def test_broadcast_listen_refuses_mistakes(
    arguments: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        listen(arguments)


def test_listen_js_is_small() -> None:
    assert (STATIC / "listen.js").stat().st_size < 7_500


def versions() -> list[list[str]]:
    """Return the lines of VERSIONS: file, package, version, npm file, licence, sha256."""
    lines = (VENDOR / "VERSIONS").read_text().splitlines()
    return [line.split() for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("entry", versions(), ids=lambda entry: entry[0])
def test_vendored_file_is_the_published_one(entry: list[str]) -> None:
    file, package, _, _, licence, digest = entry
    assert hashlib.sha256((VENDOR / file).read_bytes()).hexdigest() == digest
    assert licence == "MIT"
    text = (VENDOR / f"{package}.LICENSE.txt").read_text()
    assert "Permission is hereby granted, free of charge" in text


def test_every_vendored_build_is_listed() -> None:
    assert {entry[0] for entry in versions()} == {path.name for path in VENDOR.glob("*.js")}


def test_no_script_asks_for_a_source_map() -> None:
    """The maps are not shipped, and Django's manifest storage fails on a missing file."""
    for script in STATIC.rglob("*.js"):
        assert "sourceMappingURL" not in script.read_text(encoding="utf-8")
