"""The API of the list of things."""

import json
import re
from typing import Any

import pytest
from django.test import Client

from broadcasting.testing import Broadcasts
from whik import thing_api, throttle
from whik.factories import ThingFactory
from whik.forms import MAX_THINGS
from whik.models import Thing

pytestmark = pytest.mark.django_db

URL = "/api/things/"


def ask(client: Client, method: str, path: str = "", body: Any = None, **headers: str) -> Any:
    """Return the answer to a request with JSON in its body, where there is one."""
    data = "" if body is None else json.dumps(body)
    return client.generic(method, URL + path, data, "application/json", headers=headers)


def names() -> list[str]:
    """Return the names of things, the newest first."""
    return [thing.name for thing in Thing.objects.all()]


# Requests


def test_list_holds_all_newest_first(client: Client) -> None:
    old, new = ThingFactory.create(name="사과"), ThingFactory.create(name="pear")
    answer = client.get(URL)
    assert answer["Content-Type"] == "application/json; charset=utf-8"
    assert answer["Cache-Control"].startswith("max-age=0")
    assert [thing["id"] for thing in answer.json()["things"]] == [new.pk, old.pk]
    assert answer.json()["things"][1] == {
        "id": old.pk,
        "name": "사과",
        "made_at": old.made_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }


def test_thing_is_made(client: Client) -> None:
    answer = ask(client, "POST", body={"name": " red  apple "})
    assert answer.status_code == 201
    thing = Thing.objects.get()
    assert answer.json()["thing"]["name"] == thing.name == "red apple"
    assert answer["Location"] == f"{URL}{thing.pk}/"
    assert client.get(answer["Location"]).json() == answer.json()


@pytest.mark.parametrize("by", ["id", "name"])
def test_thing_is_renamed(client: Client, by: str) -> None:
    thing = ThingFactory.create(name="Apple")
    answer = ask(client, "PATCH", f"{thing.pk if by == 'id' else 'apple'}/", {"name": "pear"})
    assert answer.status_code == 200
    assert answer.json()["thing"]["id"] == thing.pk
    assert answer.json()["thing"]["name"] == "pear"
    assert ask(client, "PATCH", f"{thing.pk}/", {"name": "PEAR"}).status_code == 200
    assert names() == ["PEAR"]


def test_number_is_an_id_and_other_text_a_name(client: Client) -> None:
    ThingFactory.create(name="700")
    assert client.delete(f"{URL}700/").status_code == 404
    assert ask(client, "DELETE", body={"name": "700"}).status_code == 200
    ThingFactory.create(name="salt/pepper")
    assert client.get(f"{URL}salt%2Fpepper/").json()["thing"]["name"] == "salt/pepper"


@pytest.mark.parametrize("where", ["path", "body"])
@pytest.mark.parametrize("by", ["id", "name"])
def test_thing_is_deleted(client: Client, where: str, by: str) -> None:
    thing, _other = ThingFactory.create(name="Apple"), ThingFactory.create(name="pear")
    which = thing.pk if by == "id" else "apple"
    if where == "path":
        answer = client.delete(f"{URL}{which}/")
    else:
        answer = ask(client, "DELETE", body={by: which})
    assert answer.status_code == 200
    assert answer.json()["thing"]["name"] == "Apple"
    assert names() == ["pear"]
    assert ask(client, "POST", body={"name": "Apple"}).status_code == 201


# Refusals


@pytest.mark.parametrize(
    ("body", "field", "error"),
    [
        ({}, "name", "can see"),
        ({"name": " "}, "name", "can see"),
        ({"name": "a\x07b"}, "name", "can see"),
        ({"name": "x" * 41}, "name", "at most 40 characters; this one has 41"),
        ({"name": "ＡＰＰＬＥ"}, "name", "called ＡＰＰＬＥ"),
        ({"name": 7}, "name", "must be text"),
        ({"name": None}, "name", "must be text"),
        ({"name": "pear", "id": 7}, "id", "no such field"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_invalid_values_are_told_by_field(
    client: Client, method: str, body: dict[str, object], field: str, error: str
) -> None:
    ThingFactory.create(name="apple")
    path = "" if method == "POST" else f"{ThingFactory.create(name='plum').pk}/"
    before = names()
    answer = ask(client, method, path, body)
    assert answer.status_code == 400
    errors = answer.json()["errors"]
    assert list(errors) == [field]
    assert error in errors[field][0]
    assert names() == before
    answer = ask(client, method, path, body, **{"Accept-Language": "ko"})
    assert re.search("[가-힣]", answer.json()["errors"][field][0])


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    "body",
    [
        *("{", "[" * 4000, "NaN", "[]", '"apple"', '{"name": "\udcff"}'),
        *(r'{"name": "\ud800"}', r'{"\ud800": 1}', r'{"id": "\udfff"}'),
    ],
)
def test_body_must_be_a_json_object(client: Client, method: str, body: str) -> None:
    data = body.encode(errors="surrogateescape")
    answer = client.generic(method, URL, data, "application/json")
    assert answer.status_code == 400
    assert "body" in answer.json()["error"]


@pytest.mark.parametrize("body", [{}, {"id": 1, "name": "apple"}, {"id": "1"}, {"id": True}])
def test_delete_must_say_which(client: Client, body: dict[str, object]) -> None:
    ThingFactory.create(name="apple")
    answer = ask(client, "DELETE", body=body)
    assert answer.status_code == 400
    assert '{"id": 7} or {"name": "apple"}' in answer.json()["error"]
    assert names() == ["apple"]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("which", ["123456789", "9" * 19, "9" * 30, "nothing", "없음"])
def test_unknown_thing_is_a_404_in_json(client: Client, method: str, which: str) -> None:
    answer = ask(client, method, f"{which}/", {"name": "apple"})
    assert answer.status_code == 404
    assert which in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PUT", "", "GET, HEAD, POST, DELETE"), ("POST", "1/", "GET, HEAD, PATCH, DELETE")],
)
def test_wrong_method_is_a_405_in_json(
    client: Client, method: str, path: str, allowed: str
) -> None:
    answer = ask(client, method, path, {"name": "apple"})
    assert answer.status_code == 405
    assert answer["Allow"] == allowed
    assert method in answer.json()["error"]
    assert client.post(URL, {"name": "apple"}).status_code == 415  # A form.


@pytest.mark.parametrize("is_told", [True, False], ids=["told", "not told"])
def test_body_is_limited(client: Client, is_told: bool) -> None:
    body = json.dumps({"name": "x" * thing_api.MAX_BODY})
    length = {"CONTENT_LENGTH": str(len(body)) if is_told else ""}
    answer = client.generic("POST", URL, body, "application/json", **length)  # type: ignore[arg-type]  # Of the environment.
    if is_told:
        assert answer.status_code == 413
        assert answer.json() == {"error": "The body has more than 4096 bytes."}
    else:
        assert answer.status_code == 400


def test_full_list_takes_no_more(client: Client) -> None:
    things = ThingFactory.create_batch(MAX_THINGS)
    answer = ask(client, "POST", body={"name": "one more"})
    assert answer.status_code == 400
    assert "it holds 100 things" in answer.json()["errors"]["__all__"][0]
    assert ask(client, "PATCH", f"{things[0].pk}/", {"name": "other"}).status_code == 200
    client.delete(f"{URL}{things[1].pk}/")
    assert ask(client, "POST", body={"name": "one more"}).status_code == 201


def test_script_is_slowed_down(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "CHANGES", 2)
    assert [ask(client, "POST", body={"name": name}).status_code for name in "ab"] == [201, 201]
    answer = ask(client, "POST", body={"name": "c"})
    assert answer.status_code == 429
    assert answer["Retry-After"] == "10"
    assert "Wait ten seconds" in answer.json()["error"]
    assert client.delete(f"{URL}a/").status_code == 429
    assert client.get(URL).status_code == 200
    assert names() == ["b", "a"]


def test_other_addresses_are_not_slowed_down(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "CHANGES", 1)
    for address, status in (("192.0.2.1", 201), ("192.0.2.1", 429), ("192.0.2.2", 201)):
        body = json.dumps({"name": f"{address} {status}"})
        answer = client.generic("POST", URL, body, "application/json", REMOTE_ADDR=address)
        assert answer.status_code == status


def test_request_without_a_token_is_refused() -> None:
    client = Client(enforce_csrf_checks=True)
    answer = ask(client, "POST", body={"name": "apple"})
    assert answer.status_code == 403
    assert "X-CSRFToken" in answer.json()["error"]
    client.get(URL)
    token = client.cookies["csrftoken"].value
    assert ask(client, "POST", body={"name": "apple"}, **{"X-CSRFToken": token}).status_code == 201


# Broadcasts


def test_each_change_is_broadcast_to_others(client: Client, fake_broadcasts: Broadcasts) -> None:
    socket = {"X-Socket-ID": "12.34"}
    made = ask(client, "POST", body={"name": "apple"}, **socket).json()["thing"]
    path = f"{made['id']}/"
    renamed = ask(client, "PATCH", path, {"name": "pear"}, **socket).json()["thing"]
    ask(client, "PATCH", path, {"name": "pear"}, **socket)
    assert ask(client, "POST", body={"name": "pear"}, **socket).status_code == 400
    ask(client, "DELETE", path, **socket)
    sent = [record for record in fake_broadcasts.sent if record.channels == ("things",)]
    assert [(record.event, record.data, record.socket_id) for record in sent] == [
        ("thing:create", {"model": made}, "12.34"),
        ("thing:update", {"model": renamed, "changed": ["name"]}, "12.34"),
        ("thing:destroy", {"model": renamed}, "12.34"),
    ]


def test_changes_in_the_admin_are_broadcast(
    admin_client: Client, fake_broadcasts: Broadcasts
) -> None:
    admin_client.post("/admin/whik/thing/add/", {"name": " red  apple "})
    thing = Thing.objects.get()
    admin_client.post(f"/admin/whik/thing/{thing.pk}/change/", {"name": "pear"})
    admin_client.post(
        "/admin/whik/thing/",
        {"action": "delete_selected", "_selected_action": [thing.pk], "post": "yes"},
    )
    sent = [record for record in fake_broadcasts.sent if record.channels == ("things",)]
    assert [(record.event, record.data["model"]["name"]) for record in sent] == [
        ("thing:create", "red apple"),
        ("thing:update", "pear"),
        ("thing:destroy", "pear"),
    ]
