"""The page of the list of things, and what it does for who has no scripts."""

import re
from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import Resolver404, resolve

from whik.factories import ThingFactory
from whik.models import Thing

pytestmark = pytest.mark.django_db


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
