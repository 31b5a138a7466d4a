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
    """Return what the tag writes."""
    source = f"{{% load broadcasting %}}{{% broadcasting_scripts {arguments} %}}"
    return Template(source).render(Context(context))


def test_scripts_come_in_the_order_they_need() -> None:
    """Echo finds pusher-js, and the last script finds both."""
    assert re.findall(r'src="/static/broadcasting/([^"]+)"', render()) == [
        "vendor/pusher.min.js",
        "vendor/echo.iife.js",
        "echo.js",
    ]


def test_encrypted_channels_need_another_build() -> None:
    """In the place of the plain one."""
    assert re.findall(r'src="/static/broadcasting/([^"]+)"', render("encrypted=True")) == [
        "vendor/pusher-with-encryption.min.js",
        "vendor/echo.iife.js",
        "echo.js",
    ]


@pytest.mark.parametrize("arguments", ["", "encrypted=True"])
def test_scripts_exist(arguments: str) -> None:
    """Each address is a file of the package."""
    for name in re.findall(r'src="/static/broadcasting/([^"]+)"', render(arguments)):
        assert (STATIC / name).is_file()


def test_settings_travel_in_attributes(settings: Settings) -> None:
    """Nothing is inline, so a strict policy needs no exception."""
    settings.BROADCASTING = {
        "APPS": [{"ID": "a", "KEY": "k", "SECRET": "hush"}],
        "SERVER": {"PATH": '/w"<s/'},
    }
    html = render()
    assert 'data-key="k"' in html
    assert 'data-path="/w&quot;&lt;s"' in html
    assert "hush" not in html
    assert re.findall(r"<script[^>]*>([^<]*)</script>", html) == ["", "", ""]


def test_path_is_empty_by_default() -> None:
    """The server listens at the root unless told otherwise."""
    assert f'data-key="{get_settings().apps[0].key}" data-path=""' in render()


def test_endpoints_stand_where_echo_looks() -> None:
    """At the root, unless the project has moved them."""
    html = render()
    assert 'data-auth-endpoint="/broadcasting/auth"' in html
    assert 'data-user-auth-endpoint="/broadcasting/user-auth"' in html


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ([path("live/", include("broadcasting.urls"))], "/app/live/broadcasting/auth"),
        ([path("live/", include("broadcasting.urls", "mine"))], "/app/live/broadcasting/auth"),
        ([], "/broadcasting/auth"),
    ],
    ids=["below a path", "under a name", "absent"],
)
def test_endpoints_are_found_where_they_are(
    routes: list[URLPattern], expected: str, settings: Settings
) -> None:
    """Below the site's own prefix too; without routes of ours, where Echo looks."""
    urls = ModuleType("urls_of_a_site")
    urls.urlpatterns = routes  # type: ignore[attr-defined]  # as modules have
    settings.ROOT_URLCONF = urls
    set_script_prefix("/app/")
    try:
        html = render()
    finally:
        clear_script_prefix()
    assert f'data-auth-endpoint="{expected}"' in html


def test_csrf_token_travels_too() -> None:
    """A page needs no form to join private channels, and its visitor gets the cookie."""
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


def test_a_page_for_everybody_holds_no_token() -> None:
    """A cache may keep it: nothing in it is of one visitor."""
    request = RequestFactory().get("/")
    source = Template("{% load broadcasting %}{% broadcasting_scripts csrf=False %}")
    assert "csrf" not in source.render(RequestContext(request))
    assert "CSRF_COOKIE" not in request.META


def test_nonce_is_on_every_script() -> None:
    """A policy that names one refuses the others."""
    assert render("nonce=nonce", nonce='r4n"d').count('nonce="r4n&quot;d"') == 3


def test_no_nonce_unless_asked() -> None:
    """An empty attribute would say something that is not meant."""
    assert "nonce" not in render()


def listen(arguments: str, **context: object) -> str:
    """Return what ``{% broadcast_listen %}`` writes."""
    source = f"{{% load broadcasting %}}{{% broadcast_listen {arguments} %}}"
    return Template(source).render(Context(context))


def test_listening_is_an_element_and_a_module() -> None:
    """Nothing inline; a module runs once, however many elements bring it."""
    assert listen('"news"') == (
        '<broadcast-listen channel="news" event="broadcast:html"></broadcast-listen>'
        '<script src="/static/broadcasting/listen.js" type="module"></script>'
    )
    assert (STATIC / "listen.js").is_file()


def test_listening_has_a_place_and_a_source() -> None:
    """Each where it is given, and escaped."""
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
    ],
)
def test_channel_is_named_as_elsewhere(channel: object, name: str) -> None:
    """By an object, or by its full name."""
    assert f'channel="{name}"' in listen("channel", channel=channel)


def test_model_means_its_private_channel() -> None:
    """What is about one object is not for everybody, unless the page says so."""
    user = User(pk=7)
    user._state.adding = False
    assert 'channel="private-auth.User.7"' in listen("user", user=user)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ('""', InvalidChannel, "'' cannot name a channel"),
        ("absent", InvalidChannel, "'' cannot name a channel"),
        ("7", InvalidChannel, "7 is not a channel"),
        ('"#server-to-user-7"', InvalidChannel, "Give the user"),
        ('"news" "client-html"', BroadcastError, "'client-html' cannot carry HTML"),
        ('"news" ""', BroadcastError, "'' cannot name an event"),
        ('"news" refresh="/rows/"', ValueError, "say with target="),
    ],
)
def test_listening_in_vain_is_an_error(
    arguments: str, error: type[Exception], message: str
) -> None:
    """Told to who writes the page, not to who looks at it."""
    with pytest.raises(error, match=message):
        listen(arguments)


def test_listening_weighs_little() -> None:
    """Even as it is, with its comments."""
    assert (STATIC / "listen.js").stat().st_size < 7_500


def versions() -> list[list[str]]:
    """Return the lines of VERSIONS: file, package, version, npm file, licence, sha256."""
    lines = (VENDOR / "VERSIONS").read_text().splitlines()
    return [line.split() for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("entry", versions(), ids=lambda entry: entry[0])
def test_vendored_file_is_the_published_one(entry: list[str]) -> None:
    """Nobody has edited it, and VERSIONS tells of every update."""
    file, package, _, _, licence, digest = entry
    assert hashlib.sha256((VENDOR / file).read_bytes()).hexdigest() == digest
    assert licence == "MIT"
    text = (VENDOR / f"{package}.LICENSE.txt").read_text()
    assert "Permission is hereby granted, free of charge" in text


def test_every_vendored_build_is_listed() -> None:
    """No script is shipped whose origin is not written down."""
    assert {entry[0] for entry in versions()} == {path.name for path in VENDOR.glob("*.js")}


def test_no_script_asks_for_a_source_map() -> None:
    """The maps are not shipped, and Django's manifest storage fails on a missing file."""
    for script in STATIC.rglob("*.js"):
        assert "sourceMappingURL" not in script.read_text(encoding="utf-8")
