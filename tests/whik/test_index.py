"""The first page shows the experiment with two tabs."""

import re

import pytest
from django.test import Client
from django.urls import Resolver404, resolve


def page(client: Client, language: str = "en") -> str:
    """Return the page's HTML."""
    return client.get("/", headers={"Accept-Language": language}).content.decode()


def test_page_has_two_panes_and_one_form(client: Client) -> None:
    """Two connections listen, and one button between them fires."""
    html = page(client)
    assert len(re.findall(r"\sdata-pane\b", html)) == 2
    assert len(re.findall(r"\sdata-pill\b", html)) == 2
    assert len(re.findall(r"\sdata-make\b", html)) == 1


def test_driver_is_named(client: Client) -> None:
    """The page says which connection the events take."""
    assert "connection <code>memory</code>" in page(client)


def test_no_link_is_dead(client: Client) -> None:
    """Each link of the page leads to an address that exists, or to a place on the page."""
    html = page(client)
    links = set(re.findall(r'<a [^>]*href="([^"]+)"', html))
    assert {"/", "/sub", "/pub", "/admin/"} <= links
    for link in links:
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in html
            continue
        try:
            resolve(link)
        except Resolver404:
            pytest.fail(f"{link} leads nowhere")


def test_page_is_korean_for_koreans(client: Client) -> None:
    """The browser's language is followed."""
    html = page(client, "ko-KR")
    assert '<html lang="ko">' in html
    assert "이 탭에서 저 탭으로" in html
    assert "사용자 만들기" in html


def test_language_can_be_chosen(client: Client) -> None:
    """The choice is remembered and goes before what the browser says."""
    client.post("/i18n/setlang/", {"language": "ko"}, headers={"Referer": "http://testserver/"})
    assert '<html lang="ko">' in page(client, "en")


def test_ids_are_unique(client: Client) -> None:
    """Two panes of the same template do not share an id."""
    ids = re.findall(r'\sid="([^"]+)"', page(client))
    assert len(ids) == len(set(ids))
