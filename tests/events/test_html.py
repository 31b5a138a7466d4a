"""``broadcast_html``: rendered when called, once, and sent after the commit."""

from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

import django
import pytest
from django.db import transaction
from django.template import TemplateDoesNotExist
from django.utils import translation
from pytest_django import Settings

from broadcasting import Channel, abroadcast_html, broadcast_html
from broadcasting.drivers.registry import broadcasters
from broadcasting.exceptions import BroadcastError, InvalidChannel, PayloadError
from broadcasting.middleware import _socket_id
from tests.events.recording import RecordingBroadcaster, Sent

ROW = '<li id="thing-{{ thing.pk }}">{{ thing.name }}</li>'
THING = {"thing": {"pk": 7, "name": "<b>bolts</b>"}}


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path) -> Path:
    """Return the folder of the project's templates, ``row.html`` in it."""
    (engine,) = settings.TEMPLATES
    settings.TEMPLATES = [{**engine, "DIRS": [tmp_path]}]
    (tmp_path / "row.html").write_text(ROW)
    return tmp_path


def test_template_is_rendered_and_sent(first: RecordingBroadcaster) -> None:
    """With where it belongs; what the data holds is escaped as on any page."""
    broadcast_html([Channel("a"), "private-b"], "row.html", THING, "#rows", swap="beforeend")
    html = '<li id="thing-7">&lt;b&gt;bolts&lt;/b&gt;</li>'
    data = {"target": "#rows", "html": html, "swap": "beforeend"}
    assert first.sent == [Sent(("a", "private-b"), "broadcast:html", data, None)]


def test_it_goes_inside_the_target_the_page_names(first: RecordingBroadcaster) -> None:
    """Unless the message says otherwise."""
    broadcast_html("a", "row.html")
    assert first.sent[0].data == {
        "target": None,
        "html": '<li id="thing-"></li>',
        "swap": "innerHTML",
    }


def test_it_is_rendered_once_however_many_hear_it(
    first: RecordingBroadcaster, second: RecordingBroadcaster, settings: Settings
) -> None:
    """Channels and connections share the text."""
    with mock.patch("broadcasting.events.html.render_to_string", return_value="") as render:
        broadcast_html(["a", "b", "c"], "row.html", THING, "#rows")
    assert render.call_count == 1


def test_nobody_to_hear_it_costs_no_rendering(first: RecordingBroadcaster) -> None:
    """An empty list sends nothing, as elsewhere."""
    broadcast_html([], "absent.html")
    assert first.sent == []


def test_the_first_template_that_exists_is_taken(first: RecordingBroadcaster) -> None:
    """As of Django's own functions."""
    broadcast_html("a", ["absent.html", "row.html"], THING)
    assert len(first.sent) == 1


@pytest.mark.skipif(django.VERSION < (6,), reason="Django has partials from 6.0 on")
def test_part_of_a_template_can_be_rendered(first: RecordingBroadcaster, folder: Path) -> None:
    """The page and its messages share one file."""
    source = f"<ul>{{% partialdef row inline %}}{ROW}{{% endpartialdef %}}</ul>"
    (folder / "page.html").write_text(source)
    broadcast_html("a", "page.html#row", {"thing": {"pk": 1, "name": "x"}})
    data: Any = first.sent[0].data
    assert data["html"] == '<li id="thing-1">x</li>'


def test_there_is_no_request(first: RecordingBroadcaster, folder: Path) -> None:
    """Context processors would tell everybody of the one who acted."""
    (folder / "who.html").write_text("{{ user }}{{ request }}{{ csrf_token }}")
    broadcast_html("a", "who.html", {})
    data: Any = first.sent[0].data
    assert data["html"] == ""


def test_language_is_that_of_the_moment(first: RecordingBroadcaster, folder: Path) -> None:
    """Whoever wants another one overrides it, as anywhere in Django."""
    (folder / "day.html").write_text('{{ day|date:"l" }}')
    with translation.override("ko"):
        broadcast_html("a", "day.html", {"day": date(2026, 3, 1)})
    data: Any = first.sent[0].data
    assert data["html"] == "일요일"


@pytest.mark.parametrize("swap", ["delete", "none"])
def test_what_needs_no_html_needs_no_template(first: RecordingBroadcaster, swap: Any) -> None:
    """The target says all."""
    broadcast_html("a", target="#thing-7", swap=swap)
    assert first.sent[0].data == {"target": "#thing-7", "html": "", "swap": swap}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"swap": "morph"}, "does not know swap='morph'"),
        ({"template": None}, 'needs a template for swap="innerHTML"'),
        ({"target": ""}, "'' is not a target"),
        ({"target": 7}, "7 is not a target"),
        ({"event": "client-html"}, "'client-html' cannot carry HTML"),
        ({"event": "pusher:html"}, "'pusher:html' cannot name an event"),
    ],
    ids=str,
)
def test_mistakes_are_raised_where_they_are_made(
    first: RecordingBroadcaster, arguments: dict[str, Any], message: str
) -> None:
    """Before anything is sent."""
    with pytest.raises(BroadcastError, match=message.replace(".", r"\.")):
        broadcast_html("a", **{"template": "row.html", **arguments})
    assert first.sent == []


def test_errors_of_templates_and_channels_are_raised(first: RecordingBroadcaster) -> None:
    """As they are."""
    with pytest.raises(TemplateDoesNotExist):
        broadcast_html("a", "absent.html")
    with pytest.raises(InvalidChannel):
        broadcast_html("a b", "row.html")
    with pytest.raises(PayloadError):
        broadcast_html("a", "row.html", {"thing": {"pk": "\ud800"}})


@pytest.mark.django_db(transaction=True)
def test_it_waits_for_the_commit_as_it_was(first: RecordingBroadcaster, folder: Path) -> None:
    """Rendered when called: what changes until the commit does not alter it."""
    thing = {"pk": 7, "name": "before"}
    with transaction.atomic():
        broadcast_html("a", "row.html", {"thing": thing})
        thing["name"] = "after"
        assert first.sent == []
    data: Any = first.sent[0].data
    assert "before" in data["html"]


def test_options_are_those_of_broadcast_to(
    first: RecordingBroadcaster, second: RecordingBroadcaster
) -> None:
    """Another connection, another event, and without the page that asked for it."""
    token = _socket_id.set("1.2")
    try:
        broadcast_html("a", "row.html", THING, event="Row", to_others=True, via="second")
    finally:
        _socket_id.reset(token)
    assert first.sent == []
    ((_, event, _, socket_id),) = second.sent
    assert (event, socket_id) == ("Row", "1.2")


@pytest.mark.django_db(transaction=True)
async def test_async_twin_does_the_same(first: RecordingBroadcaster) -> None:
    """And the sync one says that it is meant."""
    await abroadcast_html("a", "row.html", THING, "#rows", swap="outerHTML")
    data: Any = first.sent[0].data
    assert data["swap"] == "outerHTML"
    with pytest.raises(BroadcastError, match=r"Write: await abroadcast_html\(\.\.\.\)"):
        broadcast_html("a", "row.html", THING)


def test_too_large_a_template_is_named(first: RecordingBroadcaster, folder: Path) -> None:
    """Where the event is fired, with what to do."""
    (folder / "long.html").write_text("x" * broadcasters["first"].app.max_event_size)
    with pytest.raises(PayloadError, match=r"10287 bytes.*MAX_EVENT_SIZE.*'long\.html'.*refresh"):
        broadcast_html("a", "long.html", {}, "#rows")
    assert first.sent == []
