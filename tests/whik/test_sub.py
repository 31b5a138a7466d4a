"""/sub lists what arrives."""

import inspect
import re

import pytest
from django.test import Client
from pytest_django import Settings

from whik import views


def page(client: Client) -> str:
    """Return the page's HTML."""
    return client.get("/sub").content.decode()


def test_no_code_is_inline(client: Client) -> None:
    """The policy allows this site's files and nothing written into the page."""
    html = page(client)
    assert all("src=" in script for script in re.findall(r"<script[^>]*>", html))
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)


def test_policy_is_strict(client: Client) -> None:
    """Everything comes from here, and nobody else frames the page."""
    policy = client.get("/sub")["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'self'" in policy
    assert "unsafe" not in policy


def test_page_shows_the_code_that_runs(client: Client) -> None:
    """The lines on the page are those of the files, so they cannot go stale."""
    html = page(client)
    assert "class NewUserCreated(ShouldBroadcast):" in html
    assert "broadcast(NewUserCreated(user), to_others=True)" in html
    assert "Echo.channel(&#x27;whik&#x27;).listen(&#x27;NewUserCreated&#x27;, (e) =&gt; {" in html


def test_line_of_the_empty_list_is_a_real_one(client: Client) -> None:
    """The one line that is written into the template is one that the view runs."""
    line = "event(NewUserCreated(user))"
    assert f"<code>{line}</code>" in page(client)
    assert line in inspect.getsource(views.pub)


def test_connection_is_named(client: Client, settings: Settings) -> None:
    """The driver is one of the facts about the connection."""
    assert "<code>memory</code>" in page(client)


@pytest.mark.parametrize(
    ("alias", "driver", "reason"),
    [
        ("log", "broadcasting.drivers.log.LogBroadcaster", "writes events into the server"),
        ("null", "broadcasting.drivers.null.NullBroadcaster", "throws events away"),
    ],
)
def test_page_says_why_nothing_arrives(
    client: Client, settings: Settings, alias: str, driver: str, reason: str
) -> None:
    """Two drivers reach no browser; the page works and explains."""
    settings.BROADCASTING = {"DEFAULT": alias, "CONNECTIONS": {alias: {"DRIVER": driver}}}
    assert reason in page(client)


def test_page_promises_events_otherwise(client: Client) -> None:
    """Where events arrive there is nothing to explain."""
    assert "nothing arrives here from elsewhere" not in page(client)


def test_page_needs_no_database(client: Client) -> None:
    """Without the mark `django_db` this test would fail if the page asked the database."""
    assert client.get("/sub").status_code == 200


def test_page_speaks_without_scripts(client: Client) -> None:
    """Who has switched them off learns what still works."""
    assert re.search(r"<noscript>.*Without JavaScript nothing can arrive", page(client), re.DOTALL)


def test_only_reading_is_allowed(client: Client) -> None:
    """The page itself changes nothing."""
    assert client.post("/sub").status_code == 405
