"""``GET channels``, ``channels/<name>`` and its ``users``."""

import asyncio
import json
from typing import Any

import pytest
from django.test import override_settings

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

NO_USERS = "Cannot retrieve the user count unless the channel is a presence channel"
NO_CACHE = "Cannot retrieve the cache unless the channel is a cache channel"
CALLS = ("channels", "channels/presence-p", "channels/presence-p/users")


async def ask(call: str, **parameters: str) -> Any:
    """Return the JSON that a signed GET is answered with."""
    answer = await get(call, **parameters)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


async def refusal(call: str, **parameters: str) -> str:
    """Return the reason why a signed GET is answered with 400."""
    answer = await get(call, **parameters)
    assert answer.status == 400
    return answer.body


# All channels


async def test_occupied_channels_are_listed() -> None:
    """Of this application, and not those of users and servers, whose names begin with `#`."""
    assert await ask("channels") == {"channels": {}}
    await occupy()
    await post(body_of(channels=["cache-x"]))
    await get_broker().presence.count(
        {"42:b": 0, "43:of-another": 5, "42:#server-to-user-1": 1, "42:#control": 1}
    )
    assert await ask("channels") == {"channels": {"a": {}, "presence-p": {}}}


async def test_channels_are_filtered_by_the_beginning_of_their_names() -> None:
    """It is no pattern."""
    await occupy()
    for prefix, names in {"": ["a", "presence-p"], "presence-": ["presence-p"], "a": ["a"]}.items():
        assert list((await ask("channels", filter_by_prefix=prefix))["channels"]) == names
    for prefix in ("resence-", "%", "*", "é", "4", "#server-to-user-"):
        assert await ask("channels", filter_by_prefix=prefix) == {"channels": {}}


async def test_info_of_all_channels() -> None:
    """Users only if all channels are presence channels."""
    await occupy()
    count = {"subscription_count": 3}
    answer = await ask("channels", info="subscription_count")
    assert answer == {"channels": {"a": count, "presence-p": count}}
    info = "user_count,subscription_count"
    answer = await ask("channels", info=info, filter_by_prefix="presence-")
    assert answer == {"channels": {"presence-p": {"user_count": 2, **count}}}
    for prefix in ("", "presence", "private-", "not-presence-", "Presence-"):
        assert NO_USERS in await refusal("channels", info="user_count", filter_by_prefix=prefix)


async def test_unknown_info_and_parameters_are_refused() -> None:
    """Otherwise a misspelled one would be ignored. The users of a channel take none."""
    for info in ("cache", "members", "user_count;", "USER_COUNT", "?"):
        assert await refusal("channels", info=info, filter_by_prefix="presence-")
    for call in CALLS:
        reason = await refusal(call, filter_by_prefx="a", ZZ="1")
        assert reason.endswith('parameters are extraneous: "filter_by_prefx", "zz"')
    assert (await refusal(CALLS[2], info="user_count")).endswith('are extraneous: "info"')


# One channel


@pytest.mark.parametrize(
    ("call", "info", "expected"),
    [
        ("channels/a", "", {"occupied": True}),
        ("channels/a", "subscription_count", {"occupied": True, "subscription_count": 3}),
        ("channels/presence-p", "user_count", {"occupied": True, "user_count": 2}),
        ("channels/empty", "", {"occupied": False}),
        (
            "channels/presence-empty",
            "user_count,subscription_count",
            {"occupied": False, "user_count": 0, "subscription_count": 0},
        ),
    ],
)
async def test_one_channel(call: str, info: str, expected: object) -> None:
    """With the attributes that `info` names. A channel without subscribers is no error."""
    await occupy()
    assert await ask(call, info=info) == expected


@pytest.mark.parametrize("name", ["a@b=c,d.e;f", "presence-cache-x", "x" * 200, "-", "_"])
async def test_a_name_may_be_escaped(name: str) -> None:
    """Whatever characters it has."""
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
async def test_an_invalid_name_is_refused(name: str) -> None:
    """Nobody learns whether a user is there. The application may have a lower limit."""
    for call in ("", "/users"):
        assert "is not a valid channel name" in await refusal(f"channels/{name}{call}")
    with override_settings(BROADCASTING=one_app(MAX_CHANNEL_NAME_LENGTH=10)):
        await ask("channels/" + "x" * 10)
        assert "10 characters" in await refusal("channels/" + "x" * 11)


@pytest.mark.parametrize("name", ["a", "private-p", "not-presence-p", "my-cache-x"])
async def test_other_channels_have_neither_users_nor_a_cache(name: str) -> None:
    """The beginning of the name decides."""
    assert await refusal(f"channels/{name}", info="user_count") == NO_USERS
    assert "presence channel" in await refusal(f"channels/{name}/users")
    assert await refusal(f"channels/{name}", info="cache") == NO_CACHE


async def test_the_cached_event_of_a_channel() -> None:
    """As it was published, with the seconds for which it is kept, or null."""
    name = "private-cache-x"
    assert await ask(f"channels/{name}", info="cache") == {"occupied": False, "cache": None}
    data = '{"a" :1, "é":"휙"}'
    await post(body_of(channels=[name], data=data))
    # An event of a client is not kept.
    await get_broker().publish(Message(f"42:{name}", "client-x", "2", "1.1"))
    answer = await ask(f"channels/{name}", info="cache,subscription_count")
    ttl = answer["cache"].pop("ttl")
    assert answer == {"occupied": False, "subscription_count": 0, "cache": {"data": data}}
    assert type(ttl) is int
    assert 1790 < ttl <= 1800


async def test_each_user_is_listed_once() -> None:
    """The id is text, however many connections the user has."""
    assert await ask("channels/presence-p/users") == {"users": []}
    await occupy()
    member = Member("7", '{"secret":1}')
    await get_broker().presence.join("42:presence-p", "4", member, socket_id="1.1", limit=100)
    users = [{"id": "u"}, {"id": "v"}, {"id": "7"}]
    assert await ask("channels/presence-p/users") == {"users": users}


# Unknown subscribers


@pytest.mark.parametrize(
    ("call", "question"), [*zip(CALLS, ("occupied", "sizes", "members"), strict=True)]
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


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_process_without_sockets_cannot_tell(
    is_shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty list would be wrong. A shared bus can be published to, but without `info`."""
    monkeypatch.setattr(serving, "_loops", frozenset())
    monkeypatch.setattr("broadcasting.drivers.memory.MemoryBroker.is_shared", is_shared)
    published: list[Message] = []
    monkeypatch.setattr(MemoryBus, "publish", lambda self, message: published.append(message))
    event = event_of(channel="a", info="subscription_count")
    for call in (
        *map(get, CALLS),
        post(body_of(info="subscription_count")),
        post(batch_of(event_of(channel="a"), event), "/apps/42/batch_events"),
    ):
        answer = asyncio.run(call)
        assert (answer.status, "serves no sockets" in answer.body) == (503, True)
    assert not published
    assert asyncio.run(post(body_of())).status == (200 if is_shared else 503)
    assert len(published) == is_shared
