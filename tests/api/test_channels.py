"""``GET channels``, ``channels/<name>`` and its ``users``: what an application may ask."""

import asyncio
import json
from typing import Any

import pytest
from django.test import Client, override_settings

from broadcasting.drivers import serving
from broadcasting.drivers.memory import MemoryBus
from broadcasting.drivers.presence import LocalPresence
from broadcasting.drivers.registry import get_broker
from broadcasting.exceptions import BroadcastError
from broadcasting.protocol.members import Member
from broadcasting.protocol.messages import Message
from tests.api.api_calls import body_of, event_of, get, handle, occupy, one_app, post, signed

pytestmark = pytest.mark.usefixtures("two_apps")


async def ask(call: str, **parameters: str) -> Any:
    """Return the JSON that a signed GET is answered with."""
    answer = await get(call, **parameters)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


# All channels


async def test_occupied_channels_are_listed() -> None:
    """With an empty object each; an empty object too where there are none."""
    assert await ask("channels") == {"channels": {}}
    await occupy()
    await get_broker().presence.count({"42:b": 0, "43:of-another": 5})
    assert await ask("channels") == {"channels": {"a": {}, "presence-p": {}}}


async def test_a_vacated_channel_is_listed_no_more() -> None:
    """Also while its cached event is kept and reports of it still wait."""
    await occupy()
    await post(body_of(channels=["a", "cache-x"]))
    await get_broker().presence.count({"42:a": 0})
    assert await ask("channels") == {"channels": {"presence-p": {}}}


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("", ["a", "presence-p"]),
        ("presence-", ["presence-p"]),
        ("a", ["a"]),
        ("p", ["presence-p"]),
        ("resence-", []),
        ("x", []),
        ("%", []),
        ("*", []),
        ("é", []),
        ("4", []),
        ("#", []),
    ],
)
async def test_channels_are_filtered_by_prefix(prefix: str, names: list[str]) -> None:
    """By the beginning of the name, and no other way."""
    await occupy()
    assert list((await ask("channels", filter_by_prefix=prefix))["channels"]) == names


async def test_users_channels_and_servers_are_never_listed() -> None:
    """Whatever begins with a `#`."""
    await get_broker().presence.count({"42:#server-to-user-1": 1, "42:#control": 1, "42:b": 1})
    assert await ask("channels", info="subscription_count") == {
        "channels": {"b": {"subscription_count": 1}}
    }
    assert await ask("channels", filter_by_prefix="#server-to-user-") == {"channels": {}}


async def test_info_of_all_channels() -> None:
    """Sockets of every channel; users where all are presence channels."""
    await occupy()
    assert await ask("channels", info="subscription_count") == {
        "channels": {"a": {"subscription_count": 3}, "presence-p": {"subscription_count": 3}}
    }
    assert await ask(
        "channels", info="user_count,subscription_count", filter_by_prefix="presence-"
    ) == {"channels": {"presence-p": {"user_count": 2, "subscription_count": 3}}}


@pytest.mark.parametrize("prefix", ["", "presence", "private-", "not-presence-", "Presence-"])
async def test_users_of_all_channels_are_refused(prefix: str) -> None:
    """Unless the filter leaves presence channels only."""
    answer = await get("channels", info="user_count", filter_by_prefix=prefix)
    assert answer.status == 400
    assert answer.body.startswith(
        "Cannot retrieve the user count unless the channel is a presence channel"
    )


@pytest.mark.parametrize("info", ["cache", "members", "user_count;", "USER_COUNT", "\ud800"])
async def test_unknown_info_is_refused(info: str) -> None:
    """A misspelt attribute must not look like one without a value."""
    info = info.encode(errors="replace").decode()
    assert (await get("channels", info=info, filter_by_prefix="presence-")).status == 400


@pytest.mark.parametrize("call", ["channels", "channels/presence-p", "channels/presence-p/users"])
async def test_unknown_parameters_are_refused(call: str) -> None:
    """A misspelt filter would list everything; the answer names what it does not know."""
    answer = await get(call, filter_by_prefx="a", ZZ="1")
    assert (answer.status, answer.body) == (
        400,
        'The following query string parameters are extraneous: "filter_by_prefx", "zz"',
    )


# One channel


async def test_an_occupied_channel() -> None:
    """Alone, and with what is asked of it."""
    await occupy()
    assert await ask("channels/a") == {"occupied": True}
    assert await ask("channels/a", info="subscription_count") == {
        "occupied": True,
        "subscription_count": 3,
    }
    assert await ask("channels/presence-p", info="user_count") == {
        "occupied": True,
        "user_count": 2,
    }
    assert await ask("channels/presence-p", info="subscription_count,user_count") == {
        "occupied": True,
        "subscription_count": 3,
        "user_count": 2,
    }


async def test_a_channel_without_sockets() -> None:
    """Is no error: 200."""
    assert await ask("channels/a") == {"occupied": False}
    assert await ask("channels/presence-p", info="user_count,subscription_count") == {
        "occupied": False,
        "user_count": 0,
        "subscription_count": 0,
    }


async def test_another_applications_channel_is_not_seen() -> None:
    """Names are the application's own."""
    await get_broker().presence.count({"43:a": 1})
    assert await ask("channels/a") == {"occupied": False}


@pytest.mark.parametrize(
    "name", ["a@b=c,d.e;f", "presence-cache-x", "private-encrypted-x", "x" * 200, "-", "_"]
)
async def test_any_channel_may_be_asked_for(name: str) -> None:
    """By every character that a name may have, escaped or not."""
    await get_broker().presence.count({f"42:{name}": 1})
    assert await ask(f"channels/{name}") == {"occupied": True}
    path = f"/apps/42/channels/{name}"
    escaped = path.replace("@", "%40").replace(";", "%3B").replace("-", "%2D")
    answer = await handle("GET", escaped, signed(b"", path, method="GET"), b"")
    assert answer.body == '{"occupied":true}'


@pytest.mark.parametrize(
    "name",
    ["%23server-to-user-1", "%23control", "a%20b", "a:b", "%C3%A9", "x" * 201, "a%0A", "%ED%A0%80"],
)
@pytest.mark.parametrize("call", ["", "/users"])
async def test_what_is_no_channel_cannot_be_asked_for(name: str, call: str) -> None:
    """Least of all whether a user is there."""
    answer = await get(f"channels/{name}{call}")
    assert (answer.status, "is not a valid channel name" in answer.body) == (400, True)


async def test_a_name_over_the_applications_limit_is_none() -> None:
    """As when publishing."""
    with override_settings(BROADCASTING=one_app(MAX_CHANNEL_NAME_LENGTH=10)):
        assert (await get("channels/" + "x" * 10)).status == 200
        assert (await get("channels/" + "x" * 11)).status == 400


@pytest.mark.parametrize("name", ["a", "private-p", "not-presence-p"])
async def test_users_are_of_presence_channels(name: str) -> None:
    """Their number and their names are refused elsewhere."""
    answer = await get(f"channels/{name}", info="user_count")
    assert (answer.status, answer.body) == (
        400,
        "Cannot retrieve the user count unless the channel is a presence channel",
    )
    answer = await get(f"channels/{name}/users")
    assert answer.status == 400
    assert "presence channel" in answer.body


# The cached event


async def test_the_cached_event_of_a_channel() -> None:
    """As it was published, with the seconds that it is kept; null where there is none."""
    assert await ask("channels/cache-x", info="cache") == {"occupied": False, "cache": None}
    data = '{"a" :1, "é":"휙"}'
    await post(body_of(channels=["cache-x"], data=data))
    answer = await ask("channels/cache-x", info="cache,subscription_count")
    ttl = answer["cache"].pop("ttl")
    assert answer == {"occupied": False, "subscription_count": 0, "cache": {"data": data}}
    assert type(ttl) is int
    assert 1790 < ttl <= 1800


async def test_a_clients_event_is_not_cached() -> None:
    """Nor does one take the place of what was published."""
    await post(body_of(channels=["private-cache-x"], data="1"))
    await get_broker().publish(Message("42:private-cache-x", "client-x", "2", "1.1"))
    answer = await ask("channels/private-cache-x", info="cache")
    assert answer["cache"]["data"] == "1"


@pytest.mark.parametrize("name", ["a", "my-cache-x", "presence-p", "private-x"])
async def test_the_cache_is_of_cache_channels(name: str) -> None:
    """By the beginning of the name."""
    answer = await get(f"channels/{name}", info="cache")
    assert (answer.status, "unless the channel is a cache channel" in answer.body) == (400, True)


# Its users


async def test_each_user_is_listed_once() -> None:
    """With an id that is text, however many sockets there are."""
    assert await ask("channels/presence-p/users") == {"users": []}
    await occupy()
    await get_broker().presence.join(
        "42:presence-p", "4", Member("7", '{"secret":1}'), socket_id="1.1", limit=100
    )
    assert await ask("channels/presence-p/users") == {
        "users": [{"id": "u"}, {"id": "v"}, {"id": "7"}]
    }


async def test_users_take_no_info() -> None:
    """In Pusher's words."""
    answer = await get("channels/presence-p/users", info="user_count")
    assert (answer.status, answer.body) == (
        400,
        'The following query string parameters are extraneous: "info"',
    )


# When who is there is not known


@pytest.mark.parametrize(
    ("call", "question"),
    [("channels", "occupied"), ("channels/a", "sizes"), ("channels/presence-a/users", "members")],
)
async def test_a_bus_that_does_not_answer_is_503(
    call: str, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its reason."""

    async def refuse(*args: object) -> None:
        raise BroadcastError("Redis is away")

    monkeypatch.setattr(LocalPresence, question, refuse)
    answer = await get(call)
    assert (answer.status, answer.body) == (503, "Redis is away")


@pytest.mark.parametrize("call", ["channels", "channels/a", "channels/presence-a/users"])
def test_a_process_that_knows_of_no_socket_says_so(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under WSGI an empty list would be a lie."""
    monkeypatch.setattr(serving, "_loops", frozenset())
    path = f"/apps/42/{call}"
    response = Client().get(f"{path}?{signed(b'', path, method='GET')}")
    assert response.status_code == 503
    assert "serves no sockets" in response.content.decode()


def test_presence_that_is_not_shared_is_asked_where_the_sockets_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bus may be shared while who is there is not: publishing goes, asking does not."""
    monkeypatch.setattr(serving, "_loops", frozenset())
    monkeypatch.setattr("broadcasting.drivers.memory.MemoryBroker.is_shared", True)
    body = body_of()
    assert asyncio.run(post(body)).status == 200
    for call in (get("channels"), post(body_of(info="subscription_count"))):
        answer = asyncio.run(call)
        assert answer.status == 503
        assert "does not share" in answer.body


def test_nothing_is_published_whose_info_cannot_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller would send it again."""
    monkeypatch.setattr(serving, "_loops", frozenset())
    monkeypatch.setattr("broadcasting.drivers.memory.MemoryBroker.is_shared", True)
    published: list[Message] = []
    monkeypatch.setattr(MemoryBus, "publish", lambda self, message: published.append(message))
    event = event_of(channel="a", info="subscription_count")
    body = json.dumps({"batch": [event_of(channel="a"), event]}).encode()
    assert asyncio.run(post(body, "/apps/42/batch_events")).status == 503
    assert not published
