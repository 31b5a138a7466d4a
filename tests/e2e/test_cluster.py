"""
Several server processes on one Redis, as clients see them: as one.

Site `a` runs daphne, `b` uvicorn, and clients hear of each other whichever they are on.
That somebody hears *nothing* is proved by what comes after it on the same channel: one
Redis puts the messages of a channel into one order for everybody.
"""

import asyncio
import json
import random
import time
from asyncio import to_thread
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from broadcasting.applications import Application
from broadcasting.drivers.base import NOTIFY_GRACE
from broadcasting.drivers.pusher import PusherBroadcaster
from broadcasting.exceptions import BroadcastError
from broadcasting.protocol.names import is_guarded, is_presence, user_channel
from broadcasting.protocol.signatures import sign_channel, sign_user
from tests.conftest import RedisServer, RunningServer, RunServer
from tests.e2e.proof import settings as proof
from tests.e2e.sdks import Receiver, receiver
from tests.utils import (
    await_until,
    client_event,
    decode,
    pong,
    sign_in,
    subscribe,
    unsubscribe,
)


def _application(raw: dict[str, Any]) -> Application:
    return Application(id=raw["ID"], key=raw["KEY"], secret=raw["SECRET"])


APP, FEW, GRACE = map(_application, (proof.CLUSTER, proof.FEW, proof.GRACE))
FIRST = _application(proof.PROOF)  # Whose channels bear bare names in Redis.
PATIENCE = 20.0

_marks = count(1)


class Tab:
    """
    A page, as a server sees it. It reads all the time, and answers pings.

    Attributes:
        frames: What the server has sent, but for pings.
        socket_id: What the server calls it.
    """

    def __init__(self, socket: ClientConnection, app: Application) -> None:
        self.frames: list[dict[str, Any]] = []
        self.socket_id = ""
        self._socket = socket
        self._app = app
        self._reader = asyncio.create_task(self._read())

    async def send(self, text: str) -> None:
        """Send a frame."""
        await self._socket.send(text)

    async def ask_for(self, channel: str, user: str | None = None) -> None:
        """Subscribe, as `user` to a presence channel."""
        info = {"user_id": user, "user_info": {"name": str(user).upper()}}
        data = json.dumps(info) if is_presence(channel) else None
        auth = None
        if is_guarded(channel):
            auth = sign_channel(self._app, self.socket_id, channel, data)
        await self.send(subscribe(channel, auth=auth, channel_data=data))

    async def join(self, channel: str, user: str | None = None) -> Any:
        """Subscribe; return what the confirmation says."""
        before = len(self.log("subscription_succeeded", channel))
        await self.ask_for(channel, user)
        return (await self.heard("subscription_succeeded", channel, before + 1))[-1]

    async def leave(self, channel: str) -> None:
        """Unsubscribe. The server does not confirm that."""
        await self.send(unsubscribe(channel))

    async def sign_in(self, user: str, *watchlist: str) -> None:
        """Sign in, watching others, and join the user's own channel as pusher-js does."""
        data = json.dumps({"id": user, "watchlist": watchlist})
        await self.send(sign_in(data, sign_user(self._app, self.socket_id, data)))
        await self.heard("signin_success")
        await self.join(user_channel(user))

    def log(self, event: str, channel: str | None = None) -> list[Any]:
        """Return the data of what came so far, for an event of the server without its prefix."""
        names = {event, f"pusher:{event}", f"pusher_internal:{event}"}
        return [
            frame.get("data")
            for frame in self.frames
            if frame["event"] in names and frame.get("channel") == channel
        ]

    async def heard(self, event: str, channel: str | None = None, number: int = 1) -> list[Any]:
        """Wait until `log` has `number` entries; return it."""
        what = f"{number} times {event} of {channel}"
        await await_until(lambda: len(self.log(event, channel)) >= number, PATIENCE, what)
        return self.log(event, channel)

    async def counted(self, channel: str, number: int, timeout: float = PATIENCE) -> None:
        """Wait until the server has told last that `channel` has `number` subscribers."""

        def is_told() -> bool:
            told = self.log("subscription_count", channel)
            return bool(told) and told[-1] == {"subscription_count": number}

        await await_until(is_told, timeout, f"{number} subscribers of {channel}")

    async def sees(self, channel: str, members: set[str], timeout: float = PATIENCE) -> None:
        """Wait until the page believes that `members` are in `channel`, as pusher-js would."""
        what = f"{members} in {channel}"
        await await_until(lambda: self._members(channel) == members, timeout, what)

    async def close(self) -> None:
        """Go, as a closed page does."""
        await self._socket.close()
        await self._reader

    async def close_code(self) -> int | None:
        """Return the code with which the server ends the connection."""
        async with asyncio.timeout(PATIENCE):
            await self._socket.wait_closed()
        return self._socket.close_code

    @property
    def is_open(self) -> bool:
        """Whether the connection lives."""
        return not self._reader.done()

    def changes(self, channel: str) -> list[tuple[str, str]]:
        """Return who came and went so far, in short: ``[("+", "ana"), ("-", "ana")]``."""
        signs = {"pusher_internal:member_added": "+", "pusher_internal:member_removed": "-"}
        return [
            (signs[frame["event"]], frame["data"]["user_id"])
            for frame in self.frames
            if frame["event"] in signs and frame["channel"] == channel
        ]

    def _members(self, channel: str) -> set[str]:
        present: set[str] = set()
        for frame in self.frames:
            if frame.get("channel") == channel:
                match frame["event"].rpartition(":")[2]:
                    case "subscription_succeeded":
                        present = set(frame["data"]["presence"]["ids"])
                    case "member_added":
                        present.add(frame["data"]["user_id"])
                    case "member_removed":
                        present.discard(frame["data"]["user_id"])
        return present

    async def _read(self) -> None:
        with suppress(ConnectionClosed):
            async for text in self._socket:
                frame = decode(str(text))
                match frame["event"]:
                    case "pusher:ping":
                        await self._socket.send(pong())
                    case "pusher:connection_established":
                        self.socket_id = frame["data"]["socket_id"]
                    case _:
                        self.frames.append(frame)


class Cluster:
    """
    Two sites on one Redis, and the tabs of one test.

    Attributes:
        a: Runs daphne.
        b: Runs uvicorn.
        hooks: Takes the webhooks of all processes.
    """

    def __init__(self, start: RunServer, redis: RedisServer, hooks: Receiver) -> None:
        self.redis = redis
        self.hooks = hooks
        self._start = start
        self.tabs = AsyncExitStack()
        self.a, self.b = self.start("daphne"), self.start("uvicorn")

    def start(self, server: str) -> RunningServer:
        """Start one more process."""
        return self._start(
            "redis",
            server=server,
            REDIS_URL=self.redis.url,
            WEBHOOK_URL=self.hooks.url,
            DJANGO_SETTINGS_MODULE="tests.e2e.proof.settings",
        )

    async def open(self, site: RunningServer, app: Application = APP) -> Tab:
        """Open a tab on `site`, until the test ends. One that is refused is returned, too."""
        socket = await connect(f"ws://127.0.0.1:{site.port}/app/{app.key}?protocol=7")
        tab = Tab(socket, app)
        self.tabs.push_async_callback(tab.close)
        await await_until(lambda: tab.socket_id or not tab.is_open, PATIENCE, "a greeting")
        return tab

    async def open_both(self, app: Application = APP) -> tuple[Tab, Tab]:
        """Open a tab on each site."""
        return await self.open(self.a, app), await self.open(self.b, app)

    async def settle(self, channel: str, *tabs: Tab, app: Application = APP) -> None:
        """Wait until `tabs` have heard all that was sent on `channel` before."""
        mark = f"mark-{next(_marks)}"
        await publish(self.a, channel, mark, None, app=app)
        for tab in tabs:
            await tab.heard(mark, channel)

    def reports(self, channel: str) -> list[tuple[str, str | None]]:
        """Return name and user of what webhooks have told of members and occupancy."""
        names = ("member_added", "member_removed", "channel_occupied", "channel_vacated")
        return [
            (event["name"], event.get("user_id"))
            for event in self.hooks.events
            if event["channel"] == channel and event["name"] in names
        ]

    async def quiet(self) -> None:
        """Wait until both processes have posted what was to be reported before."""
        sites = {f"quiet-{next(_marks)}": site for site in (self.a, self.b)}
        tabs = {channel: await self.open(site) for channel, site in sites.items()}
        # What is due later than all the rest is told later, by either of the processes.
        await self._report(tabs, "channel_occupied")
        for channel, tab in tabs.items():
            await tab.leave(channel)
        await self._report({}, "channel_vacated", *tabs)
        # What a process has been told it posts in order.
        await self._report({f"{channel}-end": tab for channel, tab in tabs.items()})

    async def _report(
        self, joining: dict[str, Tab], name: str = "channel_occupied", *channels: str
    ) -> None:
        for channel, tab in joining.items():
            await tab.join(channel)
        for channel in (*joining, *channels):
            what = f"{name} of {channel}"
            await await_until(partial(self._has_told, channel, name), PATIENCE, what)

    def _has_told(self, channel: str, name: str) -> bool:
        return (name, None) in self.reports(channel)


async def publish(
    site: RunningServer,
    channel: str,
    event: str,
    data: object,
    *,
    but: Tab | None = None,
    app: Application = APP,
) -> None:
    """Publish through the HTTP API of `site`."""
    broadcaster = PusherBroadcaster(app=app, first_app_id=FIRST.id, url=site.url)
    socket_id = None if but is None else but.socket_id
    await broadcaster.abroadcast([channel], event, json.dumps(data), socket_id=socket_id)
    broadcaster.close()


async def ask(site: RunningServer, path: str, **query: str) -> Any:
    """Return what the HTTP API of `site` answers."""
    broadcaster = PusherBroadcaster(app=APP, first_app_id=FIRST.id, url=site.url)
    try:
        return await to_thread(broadcaster.get, path, query)
    finally:
        broadcaster.close()


async def terminate(site: RunningServer, user: str) -> None:
    """Close the sockets of `user` through the HTTP API of `site`."""
    broadcaster = PusherBroadcaster(app=APP, first_app_id=FIRST.id, url=site.url)
    await to_thread(broadcaster.terminate_user_connections, user)
    broadcaster.close()


@pytest.fixture(scope="module")
def sites(
    module_runserver: RunServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Return the two sites, on a Redis that no other test empties."""
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    with receiver() as hooks:
        yield Cluster(module_runserver, redis, hooks)
        redis.stop()


@pytest_asyncio.fixture
async def cluster(sites: Cluster) -> AsyncIterator[Cluster]:
    """Return the two sites without tabs."""
    async with AsyncExitStack() as sites.tabs:
        yield sites


class TestPresence:
    @pytest.mark.parametrize("app", [APP, FIRST], ids=["named", "first"])
    async def test_members_of_both_processes_are_one_list(
        self, cluster: Cluster, app: Application
    ) -> None:
        """Who comes and goes on one is seen on the other, and is in the list of later ones."""
        room = "presence-list"
        on_a, on_b = await cluster.open_both(app)
        assert (await on_a.join(room, "ana"))["presence"]["ids"] == ["ana"]
        found = (await on_b.join(room, "ben"))["presence"]
        assert found["hash"] == {"ana": {"name": "ANA"}, "ben": {"name": "BEN"}}
        assert found["count"] == 2
        assert await on_a.heard("member_added", room) == [
            {"user_id": "ben", "user_info": {"name": "BEN"}}
        ]
        await on_a.leave(room)
        assert await on_b.heard("member_removed", room) == [{"user_id": "ana"}]
        assert sorted((await on_a.join(room, "cleo"))["presence"]["ids"]) == ["ben", "cleo"]
        await on_b.heard("member_added", room)
        await on_b.close()
        assert await on_a.heard("member_removed", room) == [{"user_id": "ben"}]

    async def test_a_user_with_tabs_on_both_is_one_member(self, cluster: Cluster) -> None:
        """One `member_added`, and one `member_removed` when the last tab has gone."""
        room = "presence-one"
        watchers = await cluster.open_both()
        for watcher, name in zip(watchers, ("wa", "wb"), strict=True):
            await watcher.join(room, name)
        tabs = [await cluster.open(site) for site in (cluster.a, cluster.b) * 2]
        lists = await asyncio.gather(*(tab.join(room, "dora") for tab in tabs))
        assert all(sorted(i["presence"]["ids"]) == ["dora", "wa", "wb"] for i in lists)
        await cluster.settle(room, *watchers)
        for tab in tabs[:3]:
            await tab.close()
        await cluster.settle(room, *watchers)
        for watcher in watchers:
            added = [data["user_id"] for data in watcher.log("member_added", room)]
            assert [user for user in added if user != "wb"] == ["dora"]
            assert watcher.log("member_removed", room) == []
        await tabs[3].close()
        for watcher in watchers:
            await watcher.heard("member_removed", room)
        await cluster.settle(room, *watchers)
        for watcher in watchers:
            assert watcher.log("member_removed", room) == [{"user_id": "dora"}]

    async def test_who_comes_back_on_the_other_process_was_never_away(
        self, cluster: Cluster
    ) -> None:
        """Within the grace nobody hears anything; afterwards the user is gone."""
        room = "presence-grace"
        watchers = await cluster.open_both(GRACE)
        for watcher, name in zip(watchers, ("wa", "wb"), strict=True):
            await watcher.join(room, name)
        back = await cluster.open(cluster.a, GRACE)
        gone = await cluster.open(cluster.b, GRACE)
        await back.join(room, "back")
        await gone.join(room, "gone")
        await back.close()
        back = await cluster.open(cluster.b, GRACE)
        assert "back" in (await back.join(room, "back"))["presence"]["ids"]
        await gone.close()
        began = time.monotonic()
        # Its grace ends after that of the one who came back would have.
        for watcher in watchers:
            assert await watcher.heard("member_removed", room) == [{"user_id": "gone"}]
        assert time.monotonic() - began > 1.5
        await cluster.settle(room, *watchers, app=GRACE)
        for watcher in watchers:
            added = Counter(data["user_id"] for data in watcher.log("member_added", room))
            assert (added["back"], added["gone"]) == (1, 1)
            assert len(watcher.log("member_removed", room)) == 1


class TestMessages:
    async def test_a_whisper_reaches_all_but_its_sender(self, cluster: Cluster) -> None:
        """Another tab of the sender's user, on the other process, gets it."""
        room = "presence-whisper"
        sender, same_user = await cluster.open_both()
        neighbour, other = await cluster.open_both()
        for tab, user in ((sender, "u"), (same_user, "u"), (neighbour, "v"), (other, "w")):
            await tab.join(room, user)
        await sender.send(client_event(room, "client-typing", {"on": True}))
        for tab in (same_user, neighbour, other):
            assert await tab.heard("client-typing", room) == [{"on": True}]
            assert [f["user_id"] for f in tab.frames if f["event"] == "client-typing"] == ["u"]
        await cluster.settle(room, sender)
        assert sender.log("client-typing", room) == []

    @pytest.mark.parametrize("app", [APP, FIRST], ids=["named", "first"])
    async def test_others_are_all_but_a_socket_of_another_process(
        self, cluster: Cluster, app: Application
    ) -> None:
        """`a` is asked to leave out a socket that `b` has."""
        on_a, on_b = await cluster.open_both(app)
        for tab in (on_a, on_b):
            await tab.join("others")
        await publish(cluster.a, "others", "saved", {"id": 1}, but=on_b, app=app)
        assert await on_a.heard("saved", "others") == [{"id": 1}]
        await cluster.settle("others", on_b, app=app)
        assert on_b.log("saved", "others") == []

    async def test_a_cache_channel_repeats_what_another_process_sent(
        self, cluster: Cluster
    ) -> None:
        """A miss before, the last event after; whispers are not kept."""
        channel = "private-cache-score"
        on_a, on_b = await cluster.open_both()
        for tab in (on_a, on_b):
            await tab.join(channel)
            await tab.heard("cache_miss", channel)
        await on_a.send(client_event(channel, "client-guess", 3))
        await on_b.heard("client-guess", channel)
        await (late := await cluster.open(cluster.b)).join(channel)
        await late.heard("cache_miss", channel)
        for score in (1, 2):
            await publish(cluster.a, channel, "score", score)
        await on_b.heard("score", channel, 2)
        await on_b.send(client_event(channel, "client-guess", 4))
        await on_a.heard("client-guess", channel)
        for site in (cluster.a, cluster.b):
            await (late := await cluster.open(site)).join(channel)
            assert await late.heard("score", channel) == [2]
            assert late.log("cache_miss", channel) == late.log("client-guess", channel) == []
        assert (await ask(cluster.b, f"/channels/{channel}", info="cache"))["cache"]["data"] == "2"


class TestUsers:
    async def test_a_letter_reaches_all_sockets_of_the_user(self, cluster: Cluster) -> None:
        """On both processes, and nobody else's."""
        tabs, others = await cluster.open_both(), await cluster.open_both()
        for tab, other in zip(tabs, others, strict=True):
            await tab.sign_in("eve")
            await other.sign_in("finn")
        await publish(cluster.a, user_channel("eve"), "letter", "hi")
        await publish(cluster.b, user_channel("eve"), "letter", "ho")
        for tab in tabs:
            assert sorted(await tab.heard("letter", user_channel("eve"), 2)) == ["hi", "ho"]
        await cluster.settle(user_channel("finn"), *others)
        assert not any(frame["event"] == "letter" for tab in others for frame in tab.frames)

    async def test_a_terminated_user_loses_the_sockets_on_both(self, cluster: Cluster) -> None:
        """With 4009; one who is merely a member of that name stays."""
        tabs, others = await cluster.open_both(), await cluster.open_both()
        for tab, other in zip(tabs, others, strict=True):
            await tab.sign_in("gus")
            await other.join("presence-terminate", "gus")
        await terminate(cluster.a, "gus")
        assert [await tab.close_code() for tab in tabs] == [4009, 4009]
        await cluster.settle("presence-terminate", *others)
        assert all(other.is_open for other in others)

    async def test_a_watched_user_is_online_until_the_last_tab_has_gone(
        self, cluster: Cluster
    ) -> None:
        """One change for tabs on two processes, told to watchers on both."""
        watchers = await cluster.open_both()
        for number, watcher in enumerate(watchers):
            await watcher.sign_in(f"watcher-{number}", "hana", "ivo")
            assert _changes(await watcher.heard("watchlist_events")) == [("offline", "hana ivo")]
        tabs = await cluster.open_both()
        for tab in tabs:
            await tab.sign_in("hana")
        await tabs[0].close()
        # The order of two users is not promised, so that the first must be heard of before.
        for watcher in watchers:
            await watcher.heard("watchlist_events", number=2)
        await (ivo := await cluster.open(cluster.b)).sign_in("ivo")
        for watcher in watchers:
            await watcher.heard("watchlist_events", number=3)
        await tabs[1].close()
        expected = [("offline", "hana ivo"), ("online", "hana"), ("online", "ivo")]
        for watcher in watchers:
            changes = _changes(await watcher.heard("watchlist_events", number=4))
            assert changes == [*expected, ("offline", "hana")]
        await (late := await cluster.open(cluster.a)).sign_in("late", "hana", "ivo")
        assert _changes(await late.heard("watchlist_events")) == [
            ("online", "ivo"),
            ("offline", "hana"),
        ]
        assert ivo.is_open


def _changes(frames: list[Any]) -> list[tuple[str, str]]:
    return [
        (event["name"], " ".join(event["user_ids"])) for data in frames for event in data["events"]
    ]


class TestNumbers:
    async def test_subscribers_are_counted_together(self, cluster: Cluster) -> None:
        """Each change is told to both processes, as the sum."""
        on_a, on_b = await cluster.open_both()
        await on_a.join("counted")
        assert await on_a.heard("subscription_count", "counted") == [{"subscription_count": 1}]
        await on_b.join("counted")
        assert (await on_b.heard("subscription_count", "counted"))[-1] == {"subscription_count": 2}
        await (third := await cluster.open(cluster.a)).join("counted")
        for tab in (on_a, on_b):
            await tab.counted("counted", 3)
        await third.close()
        await on_a.leave("counted")
        await on_b.counted("counted", 1)

    async def test_the_last_number_is_right(self, cluster: Cluster) -> None:
        """However joins and leaves on two processes fall together."""
        watchers = await cluster.open_both()
        tabs = [await cluster.open(site) for site in (cluster.a, cluster.b) * 15]
        for turn in range(3):
            channel = f"raced-{turn}"
            for watcher in watchers:
                await watcher.join(channel)
            await asyncio.gather(*(tab.join(channel) for tab in tabs))
            for watcher in watchers:
                await watcher.counted(channel, 32, timeout=5)
            await cluster.settle(channel, *watchers)
            await asyncio.gather(*(tab.leave(channel) for tab in tabs))
            for watcher in watchers:
                await watcher.counted(channel, 2, timeout=5)

    async def test_the_api_knows_the_channels_of_the_other_process(self, cluster: Cluster) -> None:
        """All of them, one, and its users; of a channel that has sockets on `b` only."""
        room = "presence-api"
        tabs = [await cluster.open(cluster.b) for _ in range(3)]
        for tab, user in zip(tabs, ("ana", "ben", "ben"), strict=True):
            await tab.join(room, user)
        info = "user_count,subscription_count"
        numbers = {"user_count": 2, "subscription_count": 3}

        async def answer() -> Any:
            return await ask(cluster.a, "/channels", filter_by_prefix=room, info=info)

        async def is_counted() -> bool:
            return bool(await answer() == {"channels": {room: numbers}})

        await await_until(is_counted, PATIENCE, "three sockets and two users")
        assert await ask(cluster.a, f"/channels/{room}", info=info) == {"occupied": True, **numbers}
        users = (await ask(cluster.a, f"/channels/{room}/users"))["users"]
        assert sorted(user["id"] for user in users) == ["ana", "ben"]
        for tab in tabs:
            await tab.close()

        async def is_empty() -> bool:
            return bool(await answer() == {"channels": {}})

        await await_until(is_empty, PATIENCE, "no channel")
        assert await ask(cluster.a, f"/channels/{room}/users") == {"users": []}

    async def test_the_quota_counts_both(self, cluster: Cluster) -> None:
        """Two on `a` and one on `b` are the three that an application may have."""
        tabs = [await cluster.open(site, FEW) for site in (cluster.a, cluster.a, cluster.b)]

        async def is_refused() -> bool:
            tab = await cluster.open(cluster.b, FEW)
            if tab.socket_id:
                await tab.close()
                return False
            assert await tab.close_code() == 4004
            return True

        # Processes tell each other every five seconds.
        await await_until(is_refused, 15, "a refusal")
        await tabs[0].close()

        async def is_admitted() -> bool:
            return bool((await cluster.open(cluster.b, FEW)).socket_id)

        await await_until(is_admitted, 15, "an admission")


class TestWebhooks:
    async def test_each_change_is_reported_once(self, cluster: Cluster) -> None:
        """
        A hundred sockets on two processes come, leave and return in any order, and go.

        Rooms and users are left and entered again all the time, too fast for webhooks to
        tell; clients in half of the rooms hear each change, and all hear the same.
        """
        seed = random.randrange(10**9)
        print(f"seed {seed}")
        rng = random.Random(seed)
        rooms = [f"presence-churn-{seed}-{number}" for number in range(10)]
        watched = rooms[:5]
        watchers = await cluster.open_both()
        for watcher in watchers:
            for room in watched:
                await watcher.join(room, "watcher")
        tabs = await asyncio.gather(
            *(cluster.open(rng.choice((cluster.a, cluster.b))) for _ in range(100))
        )
        # Several tabs for most of the users, some of them on both processes.
        people = [(tab, rng.choice(rooms), f"u{rng.randrange(4)}") for tab in tabs]

        async def come_back(tab: Tab, room: str, user: str) -> None:
            await tab.leave(room)
            await tab.join(room, user)

        await asyncio.gather(*(tab.join(room, user) for tab, room, user in people))
        slow = 0
        for _ in range(5):
            rng.shuffle(people)
            began = time.monotonic()
            await asyncio.gather(*(come_back(*person) for person in people))
            slow += time.monotonic() - began > NOTIFY_GRACE  # Then some were really away.
        rng.shuffle(people)
        await asyncio.gather(*(tab.close() for tab, _, _ in people))
        users = {room: {user for _, in_room, user in people if in_room == room} for room in rooms}
        for room in watched:
            for watcher in watchers:
                await watcher.sees(room, {"watcher"})
            await cluster.settle(room, *watchers)
            on_a, on_b = (watcher.changes(room) for watcher in watchers)
            assert on_a == on_b
            for user in users[room]:
                signs = "".join(sign for sign, name in on_a if name == user)
                assert signs == "+-" * (len(signs) // 2) != ""
            for watcher in watchers:
                await watcher.leave(room)

        def is_over() -> bool:
            reports = [cluster.reports(room) for room in rooms]
            return all(("channel_vacated", None) in of_room for of_room in reports)

        await await_until(is_over, PATIENCE, "all rooms are vacated")
        await cluster.quiet()
        for room in rooms:
            reports = Counter(cluster.reports(room))
            names = users[room] | ({"watcher"} if room in watched else set())
            pairs = [
                (("channel_occupied", None), ("channel_vacated", None)),
                *((("member_added", name), ("member_removed", name)) for name in names),
            ]
            for came, went in pairs:
                assert 1 <= reports[came] <= 1 + slow
                assert reports.pop(came) == reports.pop(went)
            assert not reports


class TestDeath:
    async def test_a_killed_process_takes_its_clients_along(self, cluster: Cluster) -> None:
        """Within half a minute members, watchers, numbers, lists and webhooks are right."""
        room, crowd, alone = "presence-death", "crowd-death", "alone-death"
        doomed = await to_thread(cluster.start, "daphne")
        watchers = await cluster.open_both()
        for number, watcher in enumerate(watchers):
            await watcher.sign_in(f"death-{number}", "kim")
            await watcher.join(room, f"w{number}")
            await watcher.join(crowd)
        # Mona has a tab elsewhere, and stays.
        await (await cluster.open(cluster.b)).join(room, "mona")
        kim, *tabs = [await cluster.open(doomed) for _ in range(4)]
        await kim.sign_in("kim")
        await kim.join(alone)
        for tab, user in zip((kim, *tabs), ("kim", "lee", "lee", "mona"), strict=True):
            await tab.join(room, user)
            await tab.join(crowd)
        for watcher in watchers:
            await watcher.heard("watchlist_events", number=2)
            await watcher.counted(crowd, 6)
        doomed.process.kill()
        began = time.monotonic()
        for watcher in watchers:
            await watcher.sees(room, {"w0", "w1", "mona"}, timeout=35)
        print(f"members of a killed process left after {time.monotonic() - began:.1f} s")
        for watcher in watchers:
            assert _changes(await watcher.heard("watchlist_events", number=3))[1:] == [
                ("online", "kim"),
                ("offline", "kim"),
            ]
            await watcher.counted(crowd, 2)
        users = (await ask(cluster.a, f"/channels/{room}/users"))["users"]
        assert {user["id"] for user in users} == {"w0", "w1", "mona"}
        channels = (await ask(cluster.b, "/channels", info="subscription_count"))["channels"]
        assert channels[room] == {"subscription_count": 3}
        assert channels[crowd] == {"subscription_count": 2}
        assert alone not in channels
        await cluster.quiet()
        removed = [user for name, user in cluster.reports(room) if name == "member_removed"]
        assert sorted(map(str, removed)) == ["kim", "lee"]
        assert cluster.reports(alone) == [("channel_occupied", None), ("channel_vacated", None)]
        assert ("channel_vacated", None) not in cluster.reports(crowd) + cluster.reports(room)
        for watcher in watchers:
            await cluster.settle(room, watcher)
            gone = [data["user_id"] for data in watcher.log("member_removed", room)]
            assert sorted(gone) == ["kim", "lee"]


class TestRedis:
    async def test_a_redis_that_comes_back_empty_is_filled_again(self, cluster: Cluster) -> None:
        """Nobody is closed; messages flow, and lists and numbers are those of the sockets."""
        room, crowd = "presence-restart", "crowd-restart"
        staying, going = await cluster.open_both(), await cluster.open_both()
        for number, tab in enumerate((*staying, *going)):
            await tab.join(room, f"u{number}")
            await tab.join(crowd)
        await staying[0].sign_in("noa")
        for tab in staying:
            await tab.counted(crowd, 4)
        await to_thread(cluster.redis.stop)
        await going[0].close()
        await to_thread(cluster.redis.start)
        for site in (cluster.a, cluster.b):
            await self.flows(site, crowd, *staying)
        news = await cluster.open_both()
        for number, tab in enumerate(news):
            await tab.join(room, f"new{number}")
        present = {"u0", "u1", "u3", "new0", "new1"}
        for tab in (*staying, *news):
            # Who left meanwhile stays until all processes have told what they know.
            await tab.sees(room, present)
        for tab in staying:
            await tab.counted(crowd, 3)
        late = await cluster.open_both()
        for tab in late:
            found = (await tab.join(room, "late"))["presence"]["ids"]
            assert set(found) == present | {"late"}
        for site in (cluster.a, cluster.b):
            channels = (await ask(site, "/channels", info="subscription_count"))["channels"]
            assert channels[room] == {"subscription_count": 7}
            assert channels[crowd] == {"subscription_count": 3}
        await going[1].leave(room)
        for tab in (*staying, *late):
            await tab.sees(room, present - {"u3"} | {"late"})
        await publish(cluster.b, user_channel("noa"), "letter", "hi")
        await staying[0].heard("letter", user_channel("noa"))
        assert all(tab.is_open for tab in (*staying, going[1], *news))
        await terminate(cluster.b, "noa")
        assert await staying[0].close_code() == 4009

    @staticmethod
    async def flows(site: RunningServer, channel: str, *tabs: Tab) -> None:
        """Wait until what `site` publishes reaches `tabs`."""
        mark = f"mark-{next(_marks)}"

        async def arrives() -> bool:
            with suppress(BroadcastError):  # Redis is not back yet.
                await publish(site, channel, mark, None)
            return all(tab.log(mark, channel) for tab in tabs)

        await await_until(arrives, PATIENCE, "messages flow")
