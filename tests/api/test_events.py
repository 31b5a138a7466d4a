"""``POST events`` and ``batch_events``: what is published, and what is not."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broadcasting.api.events import max_batch_body, max_event_body
from broadcasting.drivers.base import CONTROL, TERMINATE
from broadcasting.drivers.memory import MemoryBroker
from broadcasting.drivers.presence import LocalPresence
from broadcasting.drivers.registry import get_broker
from broadcasting.exceptions import BroadcastError
from broadcasting.protocol.messages import Message
from tests.api.api_calls import (
    PATH,
    application,
    batch_of,
    body_of,
    event_of,
    occupy,
    one_app,
    post,
    settle,
)

pytestmark = pytest.mark.usefixtures("two_apps")

BATCH = "/apps/42/batch_events"

# One event


async def test_event_reaches_each_channel(heard: list[Message]) -> None:
    """One message for each channel, with the data byte for byte and the excluded socket."""
    data = '{"a" :1, "é":"휙"}'
    answer = await post(body_of(name="Né", channels=["a", "b"], data=data, socket_id="5.7"))
    assert (answer.status, answer.body, answer.content_type) == (200, "{}", "application/json")
    await settle(heard, 2)
    assert heard == [Message(f"42:{c}", "Né", data, "5.7") for c in ("a", "b")]


async def test_a_channel_gets_an_event_once(heard: list[Message]) -> None:
    """Named by `channel`, or twice in `channels`."""
    assert (await post(body_of(channels=None, channel="c"))).status == 200
    assert (await post(body_of(channels=["b", "a", "b"]))).status == 200
    await settle(heard, 3)
    assert [m.channel for m in heard] == ["c", "b", "a"]


async def test_requests_in_a_row_keep_their_order(heard: list[Message]) -> None:
    """If one caller makes them."""
    for number in range(50):
        await post(body_of(data=str(number)))
    await settle(heard, 50)
    assert [m.data for m in heard] == [str(n) for n in range(50)]


@pytest.mark.parametrize(("length", "status"), [(10_240, 200), (10_241, 413)])
async def test_data_has_a_limit_in_bytes(length: int, status: int) -> None:
    """`MAX_EVENT_SIZE` of UTF-8, however many characters or bytes of JSON that is."""
    answer = await post(body_of(data="휙" * (length // 3) + "x" * (length % 3)))
    assert (answer.status, "10240 bytes" in answer.body) == (status, status == 413)
    with override_settings(BROADCASTING=one_app(MAX_EVENT_SIZE=10 * 10_240)):
        assert (await post(body_of(data="\0" * (10 * 10_240 + length - 10_240)))).status == status


async def test_a_body_has_a_limit_of_its_own() -> None:
    """What the largest event needs, however an SDK escapes it, and not a byte more."""
    worst = event_of(name="\U0001f600" * 200, data="\0" * 10_240, socket_id=f"{10**19}.{10**19}")
    channels = [f"#server-to-user-{n:0200}" for n in range(100)]
    for path, limit, body in (
        (PATH, max_event_body(application()), json.dumps(worst | {"channels": channels}).encode()),
        (
            BATCH,
            max_batch_body(application()),
            batch_of(*[worst | {"channel": channels[0]}] * 10),
        ),
    ):
        for size, status in ((limit, 200), (limit + 1, 413)):
            assert (await post(body.ljust(size), path)).status == status


async def test_an_event_has_one_to_a_hundred_channels() -> None:
    """It has no more than that."""
    for count, status in ((100, 200), (101, 400), (0, 400)):
        names = [f"c{n}" for n in range(count)]
        assert (await post(body_of(channels=names))).status == status


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 20_000),
        *(body_of(name=name) for name in (None, "", 7, "pusher:error", "\ud800", "x" * 201)),
        body_of(name="pusher_internal:member_added"),
        *(body_of(data=data) for data in (None, 7, {"a": 1}, "\udfff")),
        body_of(data="\ud800").replace(rb"\ud800", b"\xed\xa0\x80"),
        *(body_of(channels=names) for names in (None, "a", ["a", 7], ["a", ["a"]])),
        *(
            body_of(channels=["a", name])
            for name in ("b c", "a\n", "", "a:b", "é", "\ud800", "#control", "#server-to-user-")
        ),
        *(body_of(channels=[f"#server-to-user-{user}"]) for user in ("a b", "x" * 201)),
        body_of(channel="a"),
        *(body_of(channels=None, channel=name) for name in ("", ["a"])),
        b'{"name":"x","data":"{}","channels":["a"],"n":NaN}',
        b'{"name":"x","data":"{}","channels":["a"],"n":' + b"9" * 5_000 + b"}",
        b'{"name":"x","data":"{}","channels":[' + b"[" * 900 + b"]" * 900 + b"]}",
        *(body_of(socket_id=socket_id) for socket_id in ("5", "5.7\n", "٥.٧", 5.7)),
        *(body_of(info=info) for info in ("members", "user_count;cache", ["x"], "\ud800")),
    ],
)
async def test_malformed_requests_publish_nothing(body: bytes, heard: list[Message]) -> None:
    """400 with a reason in plain text, and not even the good channels get the event."""
    answer = await post(body)
    assert answer.status == 400
    assert answer.body
    assert answer.content_type.startswith("text/plain")
    await post(body_of(name="End"))
    await settle(heard, 1)


async def test_an_error_names_what_is_wrong() -> None:
    """It repeats no more of it than fits a line."""
    answer = await post(body_of(channels=["a", "x y" * 1000]))
    assert answer.body == f'"{("x y" * 1000)[:100]}"… is not a valid channel name'


async def test_other_fields_and_nulls_are_no_error(heard: list[Message]) -> None:
    """SDKs write null for what is not given, and add fields of their own."""
    body = json.dumps(
        event_of(channels=["a"], more=[1]) | {"channel": None, "socket_id": None, "info": None}
    ).encode()
    assert (await post(body)).body == "{}"
    await settle(heard, 1)


async def test_channel_names_have_the_applications_limit() -> None:
    """`MAX_CHANNEL_NAME_LENGTH` does not limit the channels of users."""
    with override_settings(BROADCASTING=one_app(MAX_CHANNEL_NAME_LENGTH=30)):
        for name, status in (
            ("x" * 30, 200),
            ("x" * 31, 400),
            ("#server-to-user-" + "x" * 200, 200),
        ):
            assert (await post(body_of(channels=[name]))).status == status


async def test_a_user_is_a_channel(heard: list[Message]) -> None:
    """`sendToUser` of the SDKs."""
    assert (await post(body_of(channels=["#server-to-user-u@1"]))).status == 200
    await settle(heard, 1)


async def test_fields_in_the_query_are_refused(heard: list[Message]) -> None:
    """If a `socket_id` there were ignored, that socket would get the event."""
    for name in ("name", "data", "channel", "channels", "socket_id", "info"):
        fields: dict[str, Any] = {name: "5.7"}
        answer = await post(body_of(), **fields)
        assert (answer.status, name in answer.body) == (400, True)
    assert not heard


async def test_a_cache_channel_keeps_what_is_published() -> None:
    """Also without subscribers, and whichever socket was excluded."""
    assert (await post(body_of(channels=["cache-x"], data="1", socket_id="5.7"))).status == 200
    assert (await post(batch_of(event_of(channel="cache-y", data="2")), BATCH)).status == 200
    for name, data in (("cache-x", "1"), ("cache-y", "2")):
        kept = await get_broker().cached(f"42:{name}")
        assert kept is not None
        assert kept.data == data


# Info


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ("subscription_count", [{"subscription_count": 3}] * 2 + [{"subscription_count": 0}]),
        ("user_count", [{"user_count": 2}, {}, {}]),
        (
            " user_count , subscription_count,",
            [
                {"user_count": 2, "subscription_count": 3},
                *({"subscription_count": n} for n in (3, 0)),
            ],
        ),
        ("cache", [{}, {}, {}]),
    ],
)
async def test_info_is_answered_for_each_channel(info: str, expected: list[object]) -> None:
    """If it fits the channel. Nothing is answered for the channels of users."""
    await occupy()
    names = ["presence-p", "a", "empty", "#server-to-user-u"]
    answer = await post(body_of(channels=names, info=info))
    assert json.loads(answer.body) == {"channels": dict(zip(names, [*expected, {}], strict=True))}


async def test_no_info_is_an_empty_object() -> None:
    """The SDK for Python parses it."""
    for info in ("", ",", None):
        assert (await post(body_of(info=info))).body == "{}"


async def test_info_is_asked_after_publishing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts are those after the event."""
    steps: list[str] = []
    publish, sizes = MemoryBroker.publish, LocalPresence.sizes

    async def noted_publish(self: MemoryBroker, message: Message) -> None:
        steps.append("publish")
        await publish(self, message)

    async def noted_sizes(self: LocalPresence, topics: Sequence[str]) -> Any:
        steps.append("sizes")
        return await sizes(self, topics)

    monkeypatch.setattr(MemoryBroker, "publish", noted_publish)
    monkeypatch.setattr(LocalPresence, "sizes", noted_sizes)
    await post(body_of(channels=["a", "b"], info="subscription_count"))
    assert steps == ["publish", "publish", "sizes"]


async def test_an_event_that_was_published_is_no_error(
    heard: list[Message], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Although counting fails: an error would make the caller send it again."""

    async def refuse(self: LocalPresence, topics: Sequence[str]) -> None:
        raise BroadcastError("Redis is away")

    monkeypatch.setattr(LocalPresence, "sizes", refuse)
    answer = await post(body_of(info="subscription_count"))
    assert (answer.status, answer.body) == (200, '{"channels":{"a":{}}}')
    assert "Redis is away" in caplog.text
    await settle(heard, 1)


# Batches


async def test_a_batch_is_published_in_order(heard: list[Message]) -> None:
    """Each event on its channel, with its own excluded socket; equal ones all arrive."""
    events = [event_of(channel="ab"[n % 2], data=str(n), socket_id=f"1.{n}") for n in range(9)]
    answer = await post(batch_of(*events, events[0]), BATCH)
    assert (answer.status, answer.body) == (200, "{}")
    await settle(heard, 10)
    assert [(m.channel, m.data, m.socket_id) for m in heard] == [
        (event["channel"], event["data"], event["socket_id"]) for event in (*events, events[0])
    ]


async def test_a_batch_has_one_to_ten_events() -> None:
    """Of any channels, encrypted ones and those of users too."""
    names = ["private-encrypted-a", "private-encrypted-b", "#server-to-user-1", *"abcdefgh"]
    for count, status in ((0, 400), (1, 200), (10, 200), (11, 400)):
        batch = batch_of(*[event_of(channel=name) for name in names[:count]])
        assert (await post(batch, BATCH)).status == status


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        *(({"channel": name}, 400) for name in ("b c", None, ["b"])),
        ({"channels": ["b"]}, 400),
        ({"channel": None, "channels": ["b"]}, 400),
        ({"name": "pusher_internal:member_added"}, 400),
        ({"data": {}}, 400),
        ({"data": "x" * 10_241}, 413),
        ({"socket_id": "5"}, 400),
        ({"info": "nothing"}, 400),
    ],
)
async def test_one_invalid_event_publishes_nothing(
    changes: dict[str, Any], status: int, heard: list[Message]
) -> None:
    """The answer says which event is invalid."""
    bad = event_of(**({"channel": "b"} | changes))
    answer = await post(batch_of(event_of(channel="a"), bad), BATCH)
    assert (answer.status, answer.body[:10]) == (status, "batch[1]: ")
    await post(body_of(name="End"))
    await settle(heard, 1)


async def test_a_batch_is_a_list_of_events() -> None:
    """400 for anything else."""
    for body in (
        *(b"", b"[]", b"{}", b'{"batch":{}}', b'{"batch":"x"}', b'{"batch":null}'),
        *(batch_of(7), batch_of(None), batch_of([]), body_of()),
    ):
        assert (await post(body, BATCH)).status == 400


async def test_info_of_a_batch_is_aligned_with_it() -> None:
    """An empty object stands where nothing was asked, or nothing fits."""
    await occupy()
    asked = [("a", None), ("a", "subscription_count"), ("a", "user_count")]
    asked += [("presence-p", "user_count,subscription_count")]
    answer = await post(batch_of(*[event_of(channel=c, info=i) for c, i in asked]), BATCH)
    counts = {"user_count": 2, "subscription_count": 3}
    assert json.loads(answer.body) == {"batch": [{}, {"subscription_count": 3}, {}, counts]}


# Terminating connections


@pytest.mark.parametrize("prefix", ["/apps/42", ""])
@pytest.mark.parametrize("user_id", ["u-1", "a@b=c,d.e;f", "terminate_connections", "users"])
async def test_servers_are_told_to_close_connections(
    prefix: str, user_id: str, heard: list[Message]
) -> None:
    """The SDK for Python leaves the application out of the path."""
    for number, body in enumerate((b"", b"{}"), 1):
        answer = await post(body, f"{prefix}/users/{user_id}/terminate_connections")
        assert (answer.status, answer.body) == (200, "{}")
        await settle(heard, number)
    assert set(heard) == {Message(f"42:{CONTROL}", TERMINATE, json.dumps(user_id))}


async def test_an_invalid_user_id_is_refused(heard: list[Message]) -> None:
    """Before a server is told."""
    for user_id in ("a b", "a%2Fb", "%F0%9F%98%80", "x" * 201, "a:b", "%0A"):
        assert (await post(b"", f"/apps/42/users/{user_id}/terminate_connections")).status == 400
    await settle(heard, 0)


async def test_without_an_application_the_key_names_it(heard: list[Message]) -> None:
    """401 if the key is unknown, or another application's secret has signed."""
    path = "/users/u-1/terminate_connections"
    for key in ("key-44", "key-43"):
        assert (await post(b"", path, key=key)).status == 401
    assert (await post(b"", path, key="key-43", secret="secret-43")).status == 200
    await settle(heard, 1)
    assert heard[0].app_id == "43"


# Refused by the bus


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the channels whose messages the bus refuses, for the test to name."""
    channels: set[str] = set()
    publish = MemoryBroker.publish

    async def publish_some(self: MemoryBroker, message: Message) -> None:
        if message.channel in channels:
            raise BroadcastError(f"No permission for {message.channel}")
        await publish(self, message)

    monkeypatch.setattr(MemoryBroker, "publish", publish_some)
    return channels


async def test_a_refused_channel_fails_alone(heard: list[Message], refusing: set[str]) -> None:
    """The other channels get the event once, and the answer has an error for each refused one."""
    refusing |= {"b", "d"}
    answer = await post(body_of(channels=["a", "b", "c", "d"]))
    assert (answer.status, answer.content_type) == (503, "application/json")
    body = json.loads(answer.body)
    assert "2 of 4" in body.pop("error")
    error = "No permission for "
    refusals = {"b": {"error": error + "b"}, "d": {"error": error + "d"}}
    assert body == {"channels": {"a": {}, "c": {}} | refusals}
    await settle(heard, 2)
    assert [message.channel for message in heard] == ["a", "c"]


async def test_a_refused_event_of_a_batch_fails_alone(
    heard: list[Message], refusing: set[str]
) -> None:
    """The other events are published once, in order, and have their info."""
    refusing.add("b")
    events = [event_of(channel=name, info="subscription_count") for name in "abc"]
    answer = await post(batch_of(*events), BATCH)
    assert (answer.status, answer.content_type) == (503, "application/json")
    count = {"subscription_count": 0}
    assert json.loads(answer.body)["batch"] == [count, {"error": "No permission for b"}, count]
    await settle(heard, 2)
    assert [message.channel for message in heard] == ["a", "c"]


async def test_a_batch_that_is_refused_as_a_whole_has_the_reason_alone(
    heard: list[Message], refusing: set[str]
) -> None:
    """The caller may send all of it again."""
    refusing |= {"a", "b"}
    answer = await post(batch_of(*[event_of(channel=name) for name in "ab"]), BATCH)
    assert (answer.status, answer.body) == (503, "No permission for a")
    await settle(heard, 0)


# Random bodies


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


FIELDS = ("name", "data", "channels", "channel", "socket_id", "info")
events = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, json_values))
bodies = st.one_of(
    events,
    st.lists(events, max_size=11).map(lambda batch: {"batch": batch}),
    json_values,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=bodies, path=st.sampled_from([PATH, BATCH, "/apps/42/users/u/terminate_connections"]))
async def test_no_signed_body_is_a_server_error(value: object, path: str) -> None:
    """Any JSON in any field is accepted, or answered with 400 or 413."""
    assert (await post(json.dumps(value).encode(), path)).status in {200, 400, 413}
