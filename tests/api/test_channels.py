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
from tests.api.api_calls import (
    batch_of,
    body_of,
    event_of,
    get,
    handle,
    occupy,
    one_app,
    post,
    signed,
)

pytestmark = pytest.mark.usefixtures("two_apps")


async def ask(call: str, **parameters: str) -> Any:
    """Return the JSON that a signed GET is answered with."""
    answer = await get(call, **parameters)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


# All channels


async def test_occupied_channels_are_listed() -> None:
    """Those of this application that have subscribers, whatever else is known of others."""
    assert await ask("channels") == {"channels": {}}
    await occupy()
    await post(body_of(channels=["cache-x"]))
    await get_broker().presence.count({"42:b": 0, "43:of-another": 5})
    assert await ask("channels") == {"channels": {"a": {}, "presence-p": {}}}


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("", ["a", "presence-p"]),
        ("presence-", ["presence-p"]),
        ("a", ["a"]),
        ("p", ["presence-p"]),
        ("resence-", []),
        ("%", []),
        ("*", []),
        ("é", []),
        ("4", []),
    ],
)
async def test_channels_are_filtered_by_prefix(prefix: str, names: list[str]) -> None:
    """The beginning of their names."""
    await occupy()
    assert list((await ask("channels", filter_by_prefix=prefix))["channels"]) == names


async def test_channels_of_users_and_servers_are_never_listed() -> None:
    """Their names begin with `#`."""
    await get_broker().presence.count({"42:#server-to-user-1": 1, "42:#control": 1, "42:b": 1})
    assert await ask("channels", info="subscription_count") == {
        "channels": {"b": {"subscription_count": 1}}
    }
    assert await ask("channels", filter_by_prefix="#server-to-user-") == {"channels": {}}


async def test_info_of_all_channels() -> None:
    """Users only if all channels are presence channels."""
    await occupy()
    assert await ask("channels", info="subscription_count") == {
        "channels": {"a": {"subscription_count": 3}, "presence-p": {"subscription_count": 3}}
    }
    assert await ask(
        "channels", info="user_count,subscription_count", filter_by_prefix="presence-"
    ) == {"channels": {"presence-p": {"user_count": 2, "subscription_count": 3}}}


@pytest.mark.parametrize("prefix", ["", "presence", "private-", "not-presence-", "Presence-"])
async def test_users_of_all_channels_cannot_be_counted(prefix: str) -> None:
    """Unless the filter leaves presence channels only."""
    answer = await get("channels", info="user_count", filter_by_prefix=prefix)
    assert answer.status == 400
    assert answer.body.startswith(
        "Cannot retrieve the user count unless the channel is a presence channel"
    )


@pytest.mark.parametrize("info", ["cache", "members", "user_count;", "USER_COUNT", "\ud800"])
async def test_unknown_info_is_refused(info: str) -> None:
    """Otherwise a misspelled attribute would look like one without a value."""
    info = info.encode(errors="replace").decode()
    assert (await get("channels", info=info, filter_by_prefix="presence-")).status == 400


@pytest.mark.parametrize("call", ["channels", "channels/presence-p", "channels/presence-p/users"])
async def test_unknown_parameters_are_refused(call: str) -> None:
    """With a misspelled filter, everything would be listed."""
    answer = await get(call, filter_by_prefx="a", ZZ="1")
    assert (answer.status, answer.body) == (
        400,
        'The following query string parameters are extraneous: "filter_by_prefx", "zz"',
    )


# One channel


async def test_an_occupied_channel() -> None:
    """With the attributes that `info` names."""
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


async def test_a_channel_without_subscribers() -> None:
    """It is no error."""
    assert await ask("channels/a") == {"occupied": False}
    assert await ask("channels/presence-p", info="user_count,subscription_count") == {
        "occupied": False,
        "user_count": 0,
        "subscription_count": 0,
    }


@pytest.mark.parametrize(
    "name", ["a@b=c,d.e;f", "presence-cache-x", "private-encrypted-x", "x" * 200, "-", "_"]
)
async def test_any_channel_may_be_asked_for(name: str) -> None:
    """With every character that a name may have, escaped or not."""
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
async def test_an_invalid_name_is_refused(name: str, call: str) -> None:
    """And nobody learns whether a user is there."""
    answer = await get(f"channels/{name}{call}")
    assert (answer.status, "is not a valid channel name" in answer.body) == (400, True)


async def test_a_name_has_the_applications_limit() -> None:
    """As in events."""
    with override_settings(BROADCASTING=one_app(MAX_CHANNEL_NAME_LENGTH=10)):
        assert (await get("channels/" + "x" * 10)).status == 200
        assert (await get("channels/" + "x" * 11)).status == 400


@pytest.mark.parametrize("name", ["a", "private-p", "not-presence-p"])
async def test_only_presence_channels_have_users(name: str) -> None:
    """Other channels have neither their number nor their names."""
    for answer in (
        await get(f"channels/{name}", info="user_count"),
        await get(f"channels/{name}/users"),
    ):
        assert (answer.status, "presence channel" in answer.body) == (400, True)


# The cached event


async def test_the_cached_event_of_a_channel() -> None:
    """As it was published, with the seconds for which it is kept, or null."""
    assert await ask("channels/cache-x", info="cache") == {"occupied": False, "cache": None}
    data = '{"a" :1, "é":"휙"}'
    await post(body_of(channels=["cache-x"], data=data))
    answer = await ask("channels/cache-x", info="cache,subscription_count")
    ttl = answer["cache"].pop("ttl")
    assert answer == {"occupied": False, "subscription_count": 0, "cache": {"data": data}}
    assert type(ttl) is int
    assert 1790 < ttl <= 1800


async def test_a_client_event_is_not_cached() -> None:
    """It does not replace the cached event."""
    await post(body_of(channels=["private-cache-x"], data="1"))
    await get_broker().publish(Message("42:private-cache-x", "client-x", "2", "1.1"))
    answer = await ask("channels/private-cache-x", info="cache")
    assert answer["cache"]["data"] == "1"


@pytest.mark.parametrize("name", ["a", "my-cache-x", "presence-p", "private-x"])
async def test_other_channels_have_no_cache(name: str) -> None:
    """The beginning of the name decides."""
    answer = await get(f"channels/{name}", info="cache")
    assert (answer.status, "unless the channel is a cache channel" in answer.body) == (400, True)


# Its users


async def test_each_user_is_listed_once() -> None:
    """The id is text, however many connections the user has."""
    assert await ask("channels/presence-p/users") == {"users": []}
    await occupy()
    await get_broker().presence.join(
        "42:presence-p", "4", Member("7", '{"secret":1}'), socket_id="1.1", limit=100
    )
    assert await ask("channels/presence-p/users") == {
        "users": [{"id": "u"}, {"id": "v"}, {"id": "7"}]
    }


async def test_users_take_no_info() -> None:
    """The error is Pusher's."""
    answer = await get("channels/presence-p/users", info="user_count")
    assert (answer.status, answer.body) == (
        400,
        'The following query string parameters are extraneous: "info"',
    )


# Unknown subscribers


@pytest.mark.parametrize(
    ("call", "question"),
    [("channels", "occupied"), ("channels/a", "sizes"), ("channels/presence-a/users", "members")],
)
async def test_a_bus_that_does_not_answer_is_503(
    call: str, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason."""

    async def refuse(*args: object) -> None:
        raise BroadcastError("Redis is away")

    monkeypatch.setattr(LocalPresence, question, refuse)
    answer = await get(call)
    assert (answer.status, answer.body) == (503, "Redis is away")


@pytest.mark.parametrize("call", ["channels", "channels/a", "channels/presence-a/users"])
def test_a_process_without_sockets_refuses_questions(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty list would be wrong."""
    monkeypatch.setattr(serving, "_loops", frozenset())
    path = f"/apps/42/{call}"
    response = Client().get(f"{path}?{signed(b'', path, method='GET')}")
    assert response.status_code == 503
    assert "serves no sockets" in response.content.decode()


def test_presence_that_is_not_shared_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """But the bus can be published to, unless an event of the request has `info`."""
    monkeypatch.setattr(serving, "_loops", frozenset())
    monkeypatch.setattr("broadcasting.drivers.memory.MemoryBroker.is_shared", True)
    published: list[Message] = []
    monkeypatch.setattr(MemoryBus, "publish", lambda self, message: published.append(message))
    event = event_of(channel="a", info="subscription_count")
    for call in (
        get("channels"),
        post(body_of(info="subscription_count")),
        post(batch_of(event_of(channel="a"), event), "/apps/42/batch_events"),
    ):
        answer = asyncio.run(call)
        assert (answer.status, "does not share" in answer.body) == (503, True)
    assert not published
    assert asyncio.run(post(body_of())).status == 200
    assert len(published) == 1
