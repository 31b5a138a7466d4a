"""The API of the list of things."""

import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from tests.whik.recording import Sent
from whik import thing_api, thing_views, throttle
from whik.factories import ThingFactory
from whik.forms import MAX_THINGS
from whik.models import Thing

pytestmark = pytest.mark.django_db

Commits = Callable[[], AbstractContextManager[list[Any]]]
URL = "/api/things/"


@pytest.fixture(autouse=True)
def _no_changes_yet() -> Iterator[None]:
    """Forget how many changes the tests before have made."""
    cache.clear()
    yield
    cache.clear()


def ask(client: Client, method: str, path: str = "", body: Any = None, **headers: str) -> Any:
    """Return the answer to a request with JSON in its body, where there is one."""
    data = "" if body is None else json.dumps(body)
    return client.generic(method, URL + path, data, "application/json", headers=headers)


def names() -> list[str]:
    """Return what the things are called, newest first."""
    return [thing.name for thing in Thing.objects.all()]


# What is asked for


def test_list_holds_all_newest_first(client: Client) -> None:
    """Each thing as broadcasts spell it."""
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
    """The answer says what it is and where."""
    answer = ask(client, "POST", body={"name": " red  apple "})
    assert answer.status_code == 201
    thing = Thing.objects.get()
    assert answer.json()["thing"]["name"] == thing.name == "red apple"
    assert answer["Location"] == f"{URL}{thing.pk}/"
    assert client.get(answer["Location"]).json() == answer.json()


@pytest.mark.parametrize("by", ["id", "name"])
def test_thing_is_renamed(client: Client, by: str) -> None:
    """By its id or by its name, whatever its case."""
    thing = ThingFactory.create(name="Apple")
    answer = ask(client, "PATCH", f"{thing.pk if by == 'id' else 'apple'}/", {"name": "pear"})
    assert answer.status_code == 200
    assert answer.json()["thing"]["id"] == thing.pk
    assert answer.json()["thing"]["name"] == "pear"
    assert names() == ["pear"]


@pytest.mark.parametrize("where", ["path", "body"])
@pytest.mark.parametrize("by", ["id", "name"])
def test_thing_is_deleted(client: Client, where: str, by: str) -> None:
    """The answer holds what was there, so that it can be made again."""
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


def test_number_in_the_address_is_an_id(client: Client) -> None:
    """A thing that is called 7 is found by its id, or by its name in the body."""
    ThingFactory.create(name="700")
    assert client.delete(f"{URL}700/").status_code == 404
    assert ask(client, "DELETE", body={"name": "700"}).status_code == 200


def test_name_may_hold_what_divides_addresses(client: Client) -> None:
    """It is asked for by its name as any other."""
    ThingFactory.create(name="salt/pepper")
    assert client.get(f"{URL}salt%2Fpepper/").json()["thing"]["name"] == "salt/pepper"


def test_name_may_be_written_anew(client: Client) -> None:
    """A thing does not stand in its own way."""
    thing = ThingFactory.create(name="apple")
    assert ask(client, "PATCH", f"{thing.pk}/", {"name": "APPLE"}).status_code == 200
    assert names() == ["APPLE"]


# What is not done


@pytest.mark.parametrize(
    ("body", "field", "error"),
    [
        ({}, "name", "Give a name that others can see."),
        ({"name": " "}, "name", "Give a name that others can see."),
        ({"name": "a\x07b"}, "name", "Give a name that others can see."),
        ({"name": "x" * 41}, "name", "A name has at most 40 characters; this one has 41."),
        ({"name": "ＡＰＰＬＥ"}, "name", "There is a thing called ＡＰＰＬＥ already."),
        ({"name": 7}, "name", "A name is text."),
        ({"name": None}, "name", "A name is text."),
        ({"name": "pear", "id": 7}, "id", "There is no such field."),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_invalid_values_are_told_by_field(
    client: Client, method: str, body: dict[str, object], field: str, error: str
) -> None:
    """As a list of sentences for each field, and nothing is changed."""
    ThingFactory.create(name="apple")
    path = "" if method == "POST" else f"{ThingFactory.create(name='plum').pk}/"
    before = names()
    answer = ask(client, method, path, body)
    assert answer.status_code == 400
    assert answer.json() == {"errors": {field: [error]}}
    assert names() == before


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    "body",
    [
        *("{", "[" * 4000, "NaN", "[]", '"apple"', '{"name": "\udcff"}'),
        *(r'{"name": "\ud800"}', r'{"\ud800": 1}', r'{"id": "\udfff"}'),
    ],
)
def test_body_must_be_a_json_object(client: Client, method: str, body: str) -> None:
    """Of whole characters; anything else is a 400 that says so."""
    data = body.encode(errors="surrogateescape")
    answer = client.generic(method, URL, data, "application/json")
    assert answer.status_code == 400
    assert "body" in answer.json()["error"]


@pytest.mark.parametrize("body", [{}, {"id": 1, "name": "apple"}, {"id": "1"}, {"id": True}])
def test_delete_must_say_which(client: Client, body: dict[str, object]) -> None:
    """One of id and name, each of its type: nothing is deleted by mistake."""
    ThingFactory.create(name="apple")
    answer = ask(client, "DELETE", body=body)
    assert answer.status_code == 400
    assert answer.json() == {"error": 'Say which: {"id": 7} or {"name": "apple"}.'}
    assert names() == ["apple"]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("which", ["123456789", "9" * 19, "9" * 30, "nothing", "없음"])
def test_unknown_thing_is_a_404_in_json(client: Client, method: str, which: str) -> None:
    """Whether it is asked for by id or by name."""
    answer = ask(client, method, f"{which}/", {"name": "apple"})
    assert answer.status_code == 404
    assert answer.json() == {"error": f"There is no thing {which}."}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PUT", "", "GET, HEAD, POST, DELETE"), ("POST", "1/", "GET, HEAD, PATCH, DELETE")],
)
def test_wrong_method_is_a_405_in_json(
    client: Client, method: str, path: str, allowed: str
) -> None:
    """It names those that are right."""
    answer = ask(client, method, path, {"name": "apple"})
    assert answer.status_code == 405
    assert answer["Allow"] == allowed
    assert answer.json() == {"error": f"{method} is not allowed here."}


def test_form_is_no_json(client: Client) -> None:
    """The API is told JSON, and says so."""
    answer = client.post(URL, {"name": "apple"})
    assert answer.status_code == 415
    assert "Content-Type: application/json" in answer.json()["error"]


@pytest.mark.parametrize("is_told", [True, False], ids=["told", "not told"])
def test_body_is_limited(client: Client, is_told: bool) -> None:
    """Whether or not the request says before how long it is."""
    body = json.dumps({"name": "x" * thing_api.MAX_BODY})
    length = {"CONTENT_LENGTH": str(len(body)) if is_told else ""}
    answer = client.generic("POST", URL, body, "application/json", **length)  # type: ignore[arg-type]  # Of the environment.
    if is_told:
        assert answer.status_code == 413
        assert answer.json() == {"error": "The body has more than 4096 bytes."}
    else:
        assert answer.status_code == 400


def test_full_list_takes_no_more(client: Client) -> None:
    """Nobody else's thing is removed to make room; renaming goes on."""
    things = ThingFactory.create_batch(MAX_THINGS)
    answer = ask(client, "POST", body={"name": "one more"})
    assert answer.status_code == 400
    assert answer.json()["errors"]["__all__"] == [
        "The list is full: it holds 100 things. Delete one first."
    ]
    assert ask(client, "PATCH", f"{things[0].pk}/", {"name": "other"}).status_code == 200
    client.delete(f"{URL}{things[1].pk}/")
    assert ask(client, "POST", body={"name": "one more"}).status_code == 201


def test_script_is_slowed_down(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many changes in ten seconds it must wait, and reading goes on."""
    monkeypatch.setattr(throttle, "CHANGES", 2)
    assert [ask(client, "POST", body={"name": name}).status_code for name in "ab"] == [201, 201]
    answer = ask(client, "POST", body={"name": "c"})
    assert answer.status_code == 429
    assert answer["Retry-After"] == "10"
    assert "Wait ten seconds" in answer.json()["error"]
    assert client.delete(f"{URL}a/").status_code == 429
    assert client.get(URL).status_code == 200
    assert client.post("/things/", {"name": "c"}).status_code == 429
    assert (
        client.post(f"/things/{Thing.objects.get(name='a').pk}/", {"delete": ""}).status_code == 429
    )
    assert names() == ["b", "a"]


def test_other_addresses_are_not_slowed_down(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One script does not stop everybody."""
    monkeypatch.setattr(throttle, "CHANGES", 0)
    assert ask(client, "POST", body={"name": "a"}).status_code == 429
    monkeypatch.setattr(throttle, "CHANGES", 1)
    answer = client.generic(
        "POST", URL, '{"name": "b"}', "application/json", REMOTE_ADDR="192.0.2.1"
    )
    assert answer.status_code == 201


def test_forged_request_is_refused_in_json() -> None:
    """The token is asked for; a list that was read has set the cookie to take it from."""
    client = Client(enforce_csrf_checks=True)
    answer = ask(client, "POST", body={"name": "apple"})
    assert answer.status_code == 403
    assert "X-CSRFToken" in answer.json()["error"]
    client.get(URL)
    token = client.cookies["csrftoken"].value
    assert ask(client, "POST", body={"name": "apple"}, **{"X-CSRFToken": token}).status_code == 201


def test_forged_form_is_refused_with_a_page() -> None:
    """People are answered as people."""
    answer = Client(enforce_csrf_checks=True).post("/things/", {"name": "apple"})
    assert answer.status_code == 403
    assert "That form had expired" in answer.content.decode()


def test_errors_speak_korean_to_koreans(client: Client) -> None:
    """The page shows them as they are."""
    answer = ask(client, "POST", body={"name": ""}, **{"Accept-Language": "ko"})
    assert answer.json()["errors"]["name"] == ["다른 사람에게 보이는 이름을 적어 주세요."]


# What others hear


def test_views_know_nothing_of_sockets() -> None:
    """The model broadcasts itself, whoever changes it."""
    for module in (thing_api, thing_views):
        source = inspect.getsource(module).partition('"""\n\n')[2]
        assert "broadcasting" not in source
        assert "socket" not in source.lower()


def test_others_hear_of_each_change(client: Client, sent: list[Sent], commits: Commits) -> None:
    """Made, renamed, deleted: on one channel, without the page that asked for it."""
    with commits():
        made = ask(client, "POST", body={"name": "apple"}, **{"X-Socket-ID": "12.34"}).json()
        path = f"{made['thing']['id']}/"
        renamed = ask(client, "PATCH", path, {"name": "pear"}, **{"X-Socket-ID": "12.34"}).json()
        ask(client, "DELETE", path, **{"X-Socket-ID": "12.34"})
    heard = [one for one in sent if one.channels == ("things",)]
    assert [(one.event, one.data["model"]) for one in heard] == [
        ("thing:create", made["thing"]),
        ("thing:update", renamed["thing"]),
        ("thing:destroy", renamed["thing"]),
    ]
    assert heard[1].data["changed"] == ["name"]
    assert {one.socket_id for one in heard} == {"12.34"}


def test_nobody_hears_of_what_changed_nothing(
    client: Client, sent: list[Sent], commits: Commits
) -> None:
    """The same name again, and what was refused."""
    thing = ThingFactory.create(name="apple")
    with commits():
        sent.clear()
        assert ask(client, "PATCH", f"{thing.pk}/", {"name": "apple"}).status_code == 200
        assert ask(client, "POST", body={"name": "apple"}).status_code == 400
    assert sent == []


def test_changes_of_the_admin_are_heard(
    admin_client: Client, sent: list[Sent], commits: Commits
) -> None:
    """Its forms clean names as the API does; its action deletes several at once."""
    with commits():
        admin_client.post("/admin/whik/thing/add/", {"name": " red  apple "})
        thing = Thing.objects.get()
        admin_client.post(f"/admin/whik/thing/{thing.pk}/change/", {"name": "pear"})
        admin_client.post(
            "/admin/whik/thing/",
            {"action": "delete_selected", "_selected_action": [thing.pk], "post": "yes"},
        )
    heard = [one for one in sent if one.channels == ("things",)]
    assert [(one.event, one.data["model"]["name"]) for one in heard] == [
        ("thing:create", "red apple"),
        ("thing:update", "pear"),
        ("thing:destroy", "pear"),
    ]
