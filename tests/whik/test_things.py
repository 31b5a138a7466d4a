"""The page of the list of things, and what it does for who has no scripts."""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.core.cache import cache
from django.test import Client
from django.urls import Resolver404, resolve

import whik
from tests.whik.recording import Sent
from whik import throttle
from whik.factories import ThingFactory
from whik.models import Thing

pytestmark = pytest.mark.django_db

Commits = Callable[[], AbstractContextManager[list[Any]]]


@pytest.fixture(autouse=True)
def _no_changes_yet() -> Iterator[None]:
    """Forget how many changes the tests before have made."""
    cache.clear()
    yield
    cache.clear()


def page(client: Client, path: str = "/things/") -> str:
    """Return a page's HTML."""
    return client.get(path).content.decode()


def test_empty_list_says_what_to_do(client: Client) -> None:
    """With the line of code that would do it too, which is one that runs."""
    html = page(client)
    assert "There is no thing yet" in html
    line = "Thing.objects.create(name=&quot;apple&quot;)"
    assert line.replace("&quot;", '"') in html
    exec(line.replace("&quot;", '"'), {"Thing": Thing})
    assert re.search(r"data-empty hidden>\s+<p>There is no thing yet", page(client))


def test_list_is_newest_first(client: Client) -> None:
    """Each row by its id."""
    things = [ThingFactory.create(name=name) for name in ("apple", "pear")]
    assert re.findall(r'<li class="thing" data-thing="(\d+)"', page(client)) == [
        str(thing.pk) for thing in reversed(things)
    ]


def test_names_are_text(client: Client) -> None:
    """Whoever wrote them."""
    ThingFactory.create(name="<img src=x onerror=alert(1)>")
    assert "<img" not in page(client)


@pytest.mark.parametrize("path", ["/things/", "/things/htmx/"])
def test_pages_hold_to_the_policy(client: Client, path: str) -> None:
    """No inline code, no doubled id, no dead link."""
    ThingFactory.create_batch(2)
    html = page(client, path)
    assert all("src=" in script for script in re.findall(r"<script[^>]*>", html))
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|hx-on", html)
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for link in re.findall(r'<a [^>]*href="([^"#]+)"', html):
        try:
            resolve(link)
        except Resolver404:
            pytest.fail(f"{link} leads nowhere")


def test_page_shows_the_code_that_runs(client: Client) -> None:
    """The model that broadcasts itself, the view that does not, and the script that hears."""
    html = page(client)
    assert "class Thing(BroadcastsModelEvents, models.Model):" in html
    assert "thing = form.save()" in html
    assert "Echo.channel(&#x27;things&#x27;)" in html
    assert "async refresh() {" in html


def test_page_is_korean_for_koreans(client: Client) -> None:
    """Both pages."""
    for path in ("/things/", "/things/htmx/"):
        html = client.get(path, headers={"Accept-Language": "ko"}).content.decode()
        assert "목록" in html


def test_htmx_is_the_published_build() -> None:
    """What the file of versions says of it is true."""
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
    """Each leads back to the list."""
    assert client.post("/things/", {"name": "apple"})["Location"] == "/things/"
    thing = Thing.objects.get()
    assert client.post(f"/things/{thing.pk}/", {"name": "pear"})["Location"] == "/things/"
    assert Thing.objects.get().name == "pear"
    assert client.post(f"/things/{thing.pk}/", {"delete": ""})["Location"] == "/things/"
    assert not Thing.objects.exists()


def test_form_says_what_is_wrong(client: Client) -> None:
    """On the list, with what was written into the form for a new one."""
    thing = ThingFactory.create(name="apple")
    answer = client.post("/things/", {"name": "Apple"})
    assert answer.status_code == 400
    html = answer.content.decode()
    assert "There is a thing called Apple already." in html
    assert 'value="Apple"' in html
    answer = client.post(f"/things/{thing.pk}/", {"name": ""})
    assert answer.status_code == 400
    assert "Give a name that others can see." in answer.content.decode()
    assert re.search(r'data-field="name">apple<', answer.content.decode())


def test_lost_thing_is_a_404(client: Client) -> None:
    """Somebody else was faster."""
    assert client.post("/things/7/", {"delete": ""}).status_code == 404


def test_key_follows_the_name() -> None:
    """Also where only the name is saved, as somebody at a shell may."""
    thing = Thing.objects.create(name="Apple")
    thing.name = "Pear"
    thing.save(update_fields=["name"])
    assert Thing.objects.get().key == "pear"


# Through htmx


def test_rows_need_no_reader() -> None:
    """One row is rendered for all: it speaks no language and knows no visitor."""
    source = (Path(whik.__file__).parent.parent / "templates/whik/thing_row.html").read_text()
    assert "translate" not in source
    assert "request" not in source
    assert "csrf" not in source


def test_broadcast_row_is_the_one_on_the_page(
    client: Client, sent: list[Sent], commits: Commits
) -> None:
    """One template for both, so that a row that is swapped looks like its neighbours."""
    with commits():
        answer = client.post("/things/htmx/", {"name": "<apple>"}, headers={"X-Socket-ID": "1.2"})
    [told] = [one for one in sent if one.channels == ("things.rows",)]
    thing = Thing.objects.get()
    assert told.event == "broadcast:html"
    assert told.socket_id == "1.2"
    assert told.data["target"] == "#rows"
    assert told.data["swap"] == "afterbegin"
    assert told.data["html"] == answer.content.decode()
    assert told.data["html"] in page(client, "/things/htmx/")
    assert "&lt;apple&gt;" in told.data["html"]
    with commits():
        sent.clear()
        client.patch(f"/things/htmx/{thing.pk}/", "name=pear")
        client.delete(f"/things/htmx/{thing.pk}/")
    updated, deleted = [one.data for one in sent if one.channels == ("things.rows",)]
    assert (updated["target"], updated["swap"]) == (f"#row-{thing.pk}", "outerHTML")
    assert "pear" in updated["html"]
    assert deleted == {"target": f"#row-{thing.pk}", "html": "", "swap": "delete"}


def test_htmx_is_answered_with_what_it_swaps(client: Client) -> None:
    """The form for a thing, then its row out of band, or a row to take away."""
    thing = ThingFactory.create(name="apple")
    url = f"/things/htmx/{thing.pk}/"
    assert 'value="apple"' in page(client, url)
    answer = client.patch(url, "name=pear").content.decode()
    assert f'id="row-{thing.pk}" hx-swap-oob="true"' in answer
    assert "pear" in answer
    answer = client.delete(url).content.decode()
    assert answer == f'<li id="row-{thing.pk}" hx-swap-oob="delete"></li>'


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_htmx_is_told_what_is_gone(client: Client, method: str) -> None:
    """In one sentence, which the page puts where it belongs."""
    answer = client.generic(method, "/things/htmx/7/", "name=pear")
    assert answer.status_code == 404
    assert answer.content.decode() == "There is no thing 7."


def test_htmx_is_told_what_is_wrong_without_markup(client: Client) -> None:
    """It takes the sentence for HTML."""
    ThingFactory.create(name="<b>")
    answer = client.post("/things/htmx/", {"name": "<b>"})
    assert answer.status_code == 400
    assert answer.content.decode() == "There is a thing called &lt;b&gt; already."


def test_htmx_is_slowed_down(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """As everybody else."""
    monkeypatch.setattr(throttle, "CHANGES", 0)
    thing = ThingFactory.create()
    url = f"/things/htmx/{thing.pk}/"
    answers = [
        client.post("/things/htmx/", {"name": "a"}),
        client.patch(url, "name=a"),
        client.delete(url),
    ]
    assert [answer.status_code for answer in answers] == [429, 429, 429]
    assert Thing.objects.get().name == thing.name
