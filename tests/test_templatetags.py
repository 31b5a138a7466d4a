"""{% broadcasting_scripts %}, and the client libraries it loads."""

import hashlib
import re
from pathlib import Path

import pytest
from django.template import Context, Template
from pytest_django import Settings

import broadcasting
from broadcasting.conf import get_settings

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


def test_scripts_exist() -> None:
    """Each address is a file of the package."""
    for name in re.findall(r'src="/static/broadcasting/([^"]+)"', render()):
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


def test_nonce_is_on_every_script() -> None:
    """A policy that names one refuses the others."""
    assert render("nonce=nonce", nonce='r4n"d').count('nonce="r4n&quot;d"') == 3


def test_no_nonce_unless_asked() -> None:
    """An empty attribute would say something that is not meant."""
    assert "nonce" not in render()


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
