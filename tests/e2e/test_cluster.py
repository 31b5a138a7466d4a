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
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from broadcasting.applications import Application
from broadcasting.drivers.base import NOTIFY_GRACE
from broadcasting.exceptions import BroadcastError
from broadcasting.protocol.names import user_channel
from tests.conftest import RedisServer, RunningServer, RunServer
from tests.e2e.client import Client, api
from tests.e2e.proof import settings as proof
from tests.e2e.sdks import Receiver, receiver
from tests.utils import await_until, client_event


def _application(raw: dict[str, Any]) -> Application:
    return Application(id=raw["ID"], key=raw["KEY"], secret=raw["SECRET"])


APP, FEW = _application(proof.CLUSTER), _application(proof.FEW)
FIRST = _application(proof.PROOF)  # Whose channels bear bare names in Redis.

_marks = count(1)


class Tab(Client):
    """A client that knows who is in a channel, as pusher-js does."""

    async def counted(self, channel: str, number: int) -> None:
        """Wait until the last announced number of subscribers of `channel` is `number`."""

        def is_announced() -> bool:
            return self.log("subscription_count", channel)[-1:] == [{"subscription_count": number}]

        await await_until(is_announced, what=f"{number} subscribers of {channel}")

    async def sees(self, channel: str, members: set[str]) -> None:
        """Wait until exactly `members` are in `channel`, as far as the page can know."""

        def present() -> set[str]:
            found = set(self.log("subscription_succeeded", channel)[-1]["presence"]["ids"])
            for sign, user in self.changes(channel):
                found = found | {user} if sign == "+" else found - {user}
            return found

        await await_until(lambda: present() == members, what=f"{members} in {channel}")

    def changes(self, channel: str) -> list[tuple[str, str]]:
        """Return who came and went so far, in short: ``[("+", "ana"), ("-", "ana")]``."""
        signs = {"pusher_internal:member_added": "+", "pusher_internal:member_removed": "-"}
        return [
            (signs[frame["event"]], frame["data"]["user_id"])
            for frame in self.frames
            if frame["event"] in signs and frame["channel"] == channel
        ]


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
        return await self.tabs.enter_async_context(await Tab.open(site.port, app))

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
        """Wait until both processes have posted what happened before."""
        sites = {f"quiet-{next(_marks)}": site for site in (self.a, self.b)}
        tabs = {channel: await self.open(site) for channel, site in sites.items()}

        async def report(name: str, channels: Iterable[str]) -> None:
            for channel in channels:
                is_there = partial(self._has_report, channel, name)
                await await_until(is_there, what=f"{name} of {channel}")

        # What happens later than all the rest is reported later, by either of the processes,
        # and each process posts in order.
        for channel, tab in tabs.items():
            await tab.join(channel)
        await report("channel_occupied", tabs)
        for channel, tab in tabs.items():
            await tab.leave(channel)
        await report("channel_vacated", tabs)
        for channel, tab in tabs.items():
            await tab.join(f"{channel}-end")
        await report("channel_occupied", [f"{channel}-end" for channel in tabs])

    def _has_report(self, channel: str, name: str) -> bool:
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
    socket_id = None if but is None else but.socket_id
    with api(site, app) as broadcaster:
        await broadcaster.abroadcast([channel], event, json.dumps(data), socket_id=socket_id)


async def ask(site: RunningServer, path: str, **query: str) -> Any:
    """Return what the HTTP API of `site` answers."""
    with api(site, APP) as broadcaster:
        return await to_thread(broadcaster.get, path, query)


async def terminate(site: RunningServer, user: str) -> None:
    """Close the sockets of `user` through the HTTP API of `site`."""
    with api(site, APP) as broadcaster:
        await to_thread(broadcaster.terminate_user_connections, user)


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
    async def test_a_user_is_reached_on_both(self, cluster: Cluster) -> None:
        """By a letter, and by a termination, which spares members who have the same name."""
        room, tabs, others = "presence-gus", await cluster.open_both(), await cluster.open_both()
        for tab, other in zip(tabs, others, strict=True):
            await tab.sign_in("gus")
            await other.sign_in("finn")
            await other.join(room, "gus")
        await publish(cluster.a, user_channel("gus"), "letter", "hi")
        await publish(cluster.b, user_channel("gus"), "letter", "ho")
        for tab in tabs:
            assert sorted(await tab.heard("letter", user_channel("gus"), 2)) == ["hi", "ho"]
        await cluster.settle(user_channel("finn"), *others)
        assert not any(frame["event"] == "letter" for tab in others for frame in tab.frames)
        await terminate(cluster.a, "gus")
        assert [await tab.close_code() for tab in tabs] == [4009, 4009]
        await cluster.settle(room, *others)
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
                await watcher.counted(channel, 32)
            await cluster.settle(channel, *watchers)
            await asyncio.gather(*(tab.leave(channel) for tab in tabs))
            for watcher in watchers:
                await watcher.counted(channel, 2)

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

        await await_until(is_counted, what="three sockets and two users")
        assert await ask(cluster.a, f"/channels/{room}", info=info) == {"occupied": True, **numbers}
        users = (await ask(cluster.a, f"/channels/{room}/users"))["users"]
        assert sorted(user["id"] for user in users) == ["ana", "ben"]
        for tab in tabs:
            await tab.close()

        async def is_empty() -> bool:
            return bool(await answer() == {"channels": {}})

        await await_until(is_empty, what="no channel")
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
        await await_until(is_refused, what="a refusal")
        await tabs[0].close()

        async def is_admitted() -> bool:
            return bool((await cluster.open(cluster.b, FEW)).socket_id)

        await await_until(is_admitted, what="an admission")


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

        await await_until(is_over, what="all rooms are vacated")
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
        """Watchers and webhooks are told once; `test_two_servers` shows members and counts."""
        room, alone = "presence-death", "alone-death"
        doomed = await to_thread(cluster.start, "daphne")
        watchers = await cluster.open_both()
        for number, watcher in enumerate(watchers):
            await watcher.sign_in(f"death-{number}", "kim")
            await watcher.join(room, f"w{number}")
        # Mona has a tab elsewhere, and stays.
        await (await cluster.open(cluster.b)).join(room, "mona")
        kim, *tabs = [await cluster.open(doomed) for _ in range(4)]
        await kim.sign_in("kim")
        await kim.join(alone)
        for tab, user in zip((kim, *tabs), ("kim", "lee", "lee", "mona"), strict=True):
            await tab.join(room, user)
        for watcher in watchers:
            await watcher.heard("watchlist_events", number=2)
        doomed.process.kill()
        for watcher in watchers:
            await watcher.sees(room, {"w0", "w1", "mona"})
            changes = _changes(await watcher.heard("watchlist_events", number=3))
            assert changes[1:] == [("online", "kim"), ("offline", "kim")]
            gone = [user for sign, user in watcher.changes(room) if sign == "-"]
            assert sorted(gone) == ["kim", "lee"]
        channels = (await ask(cluster.b, "/channels", info="subscription_count"))["channels"]
        assert channels[room] == {"subscription_count": 3}
        assert alone not in channels
        await cluster.quiet()
        removed = [user for name, user in cluster.reports(room) if name == "member_removed"]
        assert sorted(map(str, removed)) == ["kim", "lee"]
        assert cluster.reports(alone) == [("channel_occupied", None), ("channel_vacated", None)]
        assert ("channel_vacated", None) not in cluster.reports(room)


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

        await await_until(arrives, what="messages flow")
