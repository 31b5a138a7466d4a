"""The pages of the list of things: without scripts, and with htmx."""

import hashlib
import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

import whik
from broadcasting.testing import Broadcasts
from whik import throttle
from whik.factories import ThingFactory
from whik.models import Thing

pytestmark = pytest.mark.django_db


def page(client: Client, path: str = "/things/") -> str:
    """Return a page's HTML."""
    return client.get(path).content.decode()


def test_empty_list_shows_a_line_that_runs(client: Client) -> None:
    line = 'Thing.objects.create(name="apple")'
    html = page(client)
    assert line in html
    assert not re.search(r"data-empty hidden>", html)
    exec(line, {"Thing": Thing})
    assert re.search(r"data-empty hidden>", page(client))


def test_list_has_the_newest_first_and_escapes_names(client: Client) -> None:
    things = [ThingFactory.create(name=name) for name in ("apple", "<img src=x>")]
    html = page(client)
    assert re.findall(r'<li class="thing" data-thing="(\d+)"', html) == [
        str(thing.pk) for thing in reversed(things)
    ]
    assert "<img" not in html


def test_htmx_is_the_published_build() -> None:
    vendor = Path(finders.find("whik/vendor/VERSIONS") or "").parent
    [line] = [
        line.split()
        for line in (vendor / "VERSIONS").read_text().splitlines()
        if not line.startswith("#")
    ]
    name, version, digest = line[0], line[2], line[-1]
    assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest
    assert f'version:"{version}"' in (vendor / name).read_text()


# Without scripts


def test_forms_make_rename_and_delete(client: Client) -> None:
    assert client.post("/things/", {"name": "apple"})["Location"] == "/things/"
    thing = Thing.objects.get()
    assert client.post(f"/things/{thing.pk}/", {"name": "pear"})["Location"] == "/things/"
    assert Thing.objects.get().name == "pear"
    assert client.post(f"/things/{thing.pk}/", {"delete": ""})["Location"] == "/things/"
    assert not Thing.objects.exists()
    assert client.post(f"/things/{thing.pk}/", {"delete": ""}).status_code == 404


def test_form_shows_errors(client: Client) -> None:
    thing = ThingFactory.create(name="apple")
    answer = client.post("/things/", {"name": "Apple"})
    assert answer.status_code == 400
    html = answer.content.decode()
    assert "called Apple." in html
    assert 'value="Apple"' in html
    answer = client.post(f"/things/{thing.pk}/", {"name": ""})
    assert answer.status_code == 400
    assert re.search(r'data-field="name">apple<', answer.content.decode())


def test_key_follows_the_name() -> None:
    thing = Thing.objects.create(name="Apple")
    thing.name = "Pear"
    thing.save(update_fields=["name"])
    assert Thing.objects.get().key == "pear"


# With htmx


def test_row_is_the_same_for_every_visitor() -> None:
    source = (Path(whik.__file__).parent.parent / "templates/whik/thing_row.html").read_text()
    assert "translate" not in source
    assert "request" not in source
    assert "csrf" not in source


def test_broadcast_row_is_the_one_on_the_page(client: Client, fake_broadcasts: Broadcasts) -> None:
    answer = client.post("/things/htmx/", {"name": "<apple>"}, headers={"X-Socket-ID": "1.2"})
    thing = Thing.objects.get()
    client.patch(f"/things/htmx/{thing.pk}/", "name=pear")
    client.delete(f"/things/htmx/{thing.pk}/")
    row = answer.content.decode()
    assert "&lt;apple&gt;" in row
    created, updated, deleted = fake_broadcasts.assert_broadcast(
        "broadcast:html", on="things.rows", to_others=True
    )
    assert created.data == {"target": "#rows", "swap": "afterbegin", "html": row}
    assert created.socket_id == "1.2"
    assert (updated.data["target"], updated.data["swap"]) == (f"#row-{thing.pk}", "outerHTML")
    assert "pear" in updated.data["html"]
    assert deleted.data == {"target": f"#row-{thing.pk}", "html": "", "swap": "delete"}


def test_htmx_receives_what_it_swaps(client: Client) -> None:
    thing = ThingFactory.create(name="apple")
    url = f"/things/htmx/{thing.pk}/"
    assert 'value="apple"' in page(client, url)
    answer = client.patch(url, "name=pear").content.decode()
    assert f'id="row-{thing.pk}" hx-swap-oob="true"' in answer
    assert "pear" in answer
    answer = client.delete(url).content.decode()
    assert answer == f'<li id="row-{thing.pk}" hx-swap-oob="delete"></li>'


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_htmx_receives_errors_as_text(client: Client, method: str) -> None:
    answer = client.generic(method, "/things/htmx/7/", "name=pear")
    assert answer.status_code == 404
    assert "thing 7" in answer.content.decode()
    ThingFactory.create(name="<b>")
    answer = client.post("/things/htmx/", {"name": "<b>"})
    assert answer.status_code == 400
    assert "&lt;b&gt;" in answer.content.decode()


def test_changes_are_throttled(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "CHANGES", 0)
    thing = ThingFactory.create()
    url = f"/things/htmx/{thing.pk}/"
    answers = [
        client.post("/things/htmx/", {"name": "a"}),
        client.patch(url, "name=a"),
        client.delete(url),
        client.post("/things/", {"name": "c"}),
        client.post(f"/things/{thing.pk}/", {"delete": ""}),
    ]
    assert [answer.status_code for answer in answers] == [429] * 5
    assert Thing.objects.get().name == thing.name
