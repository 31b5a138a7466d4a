"""The template tags as functions of Jinja2."""

import re

import pytest
from django.template import Context, Template
from django.template.backends.jinja2 import Jinja2
from django.test import RequestFactory
from jinja2 import Environment

from broadcasting import Channel, jinja


@pytest.fixture
def engine() -> Jinja2:
    """Return Django's Jinja2 engine with the extension, as settings name it."""
    extension = f"{jinja.BroadcastingExtension.__module__}.{jinja.BroadcastingExtension.__name__}"
    return Jinja2(
        {"NAME": "j", "DIRS": [], "APP_DIRS": False, "OPTIONS": {"extensions": [extension]}}
    )


@pytest.mark.parametrize(
    ("function", "tag"),
    [
        ("broadcasting_scripts()", "broadcasting_scripts"),
        ("broadcasting_scripts(nonce=n)", "broadcasting_scripts nonce=n"),
        ("broadcasting_scripts(encrypted=True)", "broadcasting_scripts encrypted=True"),
        ("broadcast_listen(c)", "broadcast_listen c"),
        (
            "broadcast_listen('news', 'Row', '#a > b', refresh='/rows/?a&b', nonce=n)",
            "broadcast_listen 'news' 'Row' '#a > b' refresh='/rows/?a&b' nonce=n",
        ),
    ],
)
def test_function_writes_what_the_tag_writes(engine: Jinja2, function: str, tag: str) -> None:
    context = {"n": 'r"4', "c": Channel("news")}
    html = engine.from_string(f"{{{{ {function} }}}}").render(context)
    source = f"{{% load broadcasting %}}{{% {tag} %}}"
    assert html == Template(source).render(Context(context))
    assert html.startswith("<")


def test_csrf_token_may_be_left_out(engine: Jinja2) -> None:
    request = RequestFactory().get("/")
    source = "{{ broadcasting_scripts(csrf=False) }}"
    assert "csrf" not in engine.from_string(source).render({}, request)
    assert "CSRF_COOKIE" not in request.META
    html = engine.from_string("{{ broadcasting_scripts() }}").render({}, request)
    assert re.search(r'data-csrf-token="\w{64}"', html)
    assert "CSRF_COOKIE" in request.META


def test_functions_work_without_the_extension() -> None:
    environment = Environment(autoescape=True)
    environment.globals.update(
        broadcasting_scripts=jinja.broadcasting_scripts, broadcast_listen=jinja.broadcast_listen
    )
    html = environment.from_string("{{ broadcasting_scripts() }}").render()
    assert html.startswith("<script src=")
    assert "csrf" not in html
