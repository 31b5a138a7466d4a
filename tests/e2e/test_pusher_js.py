"""
The real pusher-js and Laravel Echo, in a real browser, against real servers.

A page writes what it hears into ``log``, a list of pairs; the tests read it.
"""

import asyncio
import json
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, WebSocket

from broadcasting.applications import Application
from broadcasting.protocol.signatures import sign_channel, sign_user
from tests.conftest import NewPage, RunningServer, RunServer
from tests.e2e.client import api
from tests.e2e.proof import settings as proof
from tests.utils import await_until

pytestmark = pytest.mark.asyncio(loop_scope="session")

APP = Application(id=proof.PROOF["ID"], key=proof.PROOF["KEY"], secret=proof.PROOF["SECRET"])
# Chromium's own words about a socket that was closed on it.
CLOSED = r"WebSocket connection to .* failed"
# A page that makes its own clients.
CLIENT = """
window.log = [];
window.note = (what) => (...args) => log.push([what, args[0] ?? null, args[1] ?? null]);
window.client = (options = {}, key = "proof-key") => {
  const pusher = new Pusher(key, {
    cluster: "",
    wsHost: location.hostname,
    wsPort: location.port,
    forceTLS: false,
    enabledTransports: ["ws"],
    disableStats: true,
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, callback) =>
        authorize(socketId, channelName).then((data) => callback(null, JSON.parse(data))),
    },
    userAuthentication: {
      customHandler: ({ socketId }, callback) =>
        authenticate(socketId).then((data) => callback(null, JSON.parse(data))),
    },
    ...options,
  });
  pusher.connection.bind("state_change", ({ current }) => log.push(["state", current, null]));
  pusher.connection.bind("error", (error) =>
    log.push(["error", error.data ?? error.error?.data ?? error, null]));
  return pusher;
};
null;  // Playwright would call a function.
"""


@pytest.fixture(scope="module", params=["daphne", "broadcast_serve"])
def site(request: pytest.FixtureRequest, module_runserver: RunServer) -> RunningServer:
    """Return a site with everything switched on."""
    return module_runserver(
        "memory", server=request.param, DJANGO_SETTINGS_MODULE="tests.e2e.proof.settings"
    )


async def publish(site: RunningServer, channel: str, event: str, data: object) -> None:
    """Publish as another process of the site would."""
    with api(site, APP) as broadcaster:
        await broadcaster.abroadcast([channel], event, json.dumps(data))


async def log_of(page: Page, what: str) -> list[Any]:
    """Return the first argument of each entry called `what`."""
    entries: list[list[Any]] = await page.evaluate("log")
    return [entry[1] for entry in entries if entry[0] == what]


async def heard(page: Page, what: str, count: int = 1) -> list[Any]:
    """Wait for `count` entries called `what`; return their first arguments."""

    async def enough() -> bool:
        return len(await log_of(page, what)) >= count

    await await_until(enough, what=f"{count} times {what!r}")
    return await log_of(page, what)


async def true_in(page: Page, expression: str) -> None:
    """Wait until `expression` is true in the page."""
    await await_until(lambda: page.evaluate(expression), what=expression)


class Tabs:
    """
    Opens pages on the site.

    Attributes:
        sockets: The WebSockets that each page has opened.
    """

    def __init__(self, site: RunningServer, new_page: NewPage) -> None:
        self.site = site
        self.sockets: dict[Page, list[WebSocket]] = {}
        self._new_page = new_page

    async def open(
        self, *errors: str, beside: Page | None = None, user: str = "u1", **data: Any
    ) -> Page:
        """
        Open a page, of the same visitor as `beside` if one is given.

        `errors` are expected in its console, beside sockets that are closed on it.
        Its pusher-js clients are authorized as `user`; `data` is part of what they sign
        in with.
        """
        page = await (
            self._new_page(CLOSED, *errors) if beside is None else beside.context.new_page()
        )
        self.sockets[page] = []
        # Playwright cannot take a method of a built-in type for a listener.
        page.on("websocket", lambda socket: self.sockets[page].append(socket))

        def authorize(socket_id: str, channel: str) -> str:
            info = {"user_id": user, "user_info": {"name": user.upper()}}
            channel_data = json.dumps(info) if channel.startswith("presence-") else None
            answer = {"auth": sign_channel(APP, socket_id, channel, channel_data)}
            return json.dumps(answer | ({"channel_data": channel_data} if channel_data else {}))

        def authenticate(socket_id: str) -> str:
            user_data = json.dumps({"id": user, **data})
            return json.dumps(
                {"auth": sign_user(APP, socket_id, user_data), "user_data": user_data}
            )

        await page.expose_function("authorize", authorize)
        await page.expose_function("authenticate", authenticate)
        await page.goto(f"{self.site.url}/proof/")
        await page.evaluate(CLIENT)
        return page


@pytest_asyncio.fixture(loop_scope="session")
async def tabs(site: RunningServer, new_page: NewPage) -> Tabs:
    """Return what opens pages."""
    return Tabs(site, new_page)


TO_EVERY_KIND = """
from broadcasting import (
    Channel, EncryptedPrivateChannel, PresenceChannel, PrivateChannel, broadcast_to
)
kinds = Channel, PrivateChannel, EncryptedPrivateChannel, PresenceChannel
broadcast_to([kind("proof.1") for kind in kinds], "Proof", {"kind": "ż", "n": [1]})
"""


class TestEcho:
    """Laravel Echo as ``{% broadcasting_scripts %}`` sets it up, and this site's own endpoints."""

    async def test_every_kind_of_channel(self, tabs: Tabs) -> None:
        """One event of another process reaches them all; the encrypted one is sealed."""
        page = await tabs.open()
        await page.evaluate(
            """() => {
              const on = (channel, name) =>
                channel.subscribed(note("subscribed")).error(note("refused"))
                  .listen("Proof", note(name));
              on(Echo.channel("proof.1"), "public");
              on(Echo.private("proof.1"), "private");
              on(Echo.encryptedPrivate("proof.1"), "encrypted");
              on(Echo.join("proof.1"), "presence");
            }"""
        )
        await heard(page, "subscribed", 4)
        frames: list[str] = []
        tabs.sockets[page][0].on("framereceived", lambda text: frames.append(str(text)))
        await asyncio.to_thread(tabs.site.shell, TO_EVERY_KIND)
        for name in ("public", "private", "encrypted", "presence"):
            assert await heard(page, name) == [{"kind": "ż", "n": [1]}]
        (sealed,) = [text for text in frames if "private-encrypted-" in text]
        assert "ciphertext" in sealed
        assert "kind" not in sealed
        assert await log_of(page, "refused") == []

    async def test_names_of_events(self, tabs: Tabs) -> None:
        """As they are, with a dot before them, and with the namespace of Laravel's own Echo."""
        page = await tabs.open()
        await page.evaluate(
            """() => {
              Echo.channel("proof.7").subscribed(note("a"))
                .listen("Plain", note("plain")).listen(".with.dots", note("dots"));
              Echo.connector.options.namespace = "App.Events";
              Echo.channel("proof.8").subscribed(note("b"))
                .listen("Sent", note("namespace")).listen(".Plain", note("literal"));
            }"""
        )
        await heard(page, "a")
        await heard(page, "b")
        await publish(tabs.site, "proof.7", "Plain", 1)
        await publish(tabs.site, "proof.7", "with.dots", 2)
        await publish(tabs.site, "proof.8", "App\\Events\\Sent", 3)
        await publish(tabs.site, "proof.8", "Plain", 4)
        assert await heard(page, "literal") == [4]
        assert await log_of(page, "plain") == [1]
        assert await log_of(page, "dots") == [2]
        assert await log_of(page, "namespace") == [3]

    async def test_three_tabs_are_two_members(self, tabs: Tabs) -> None:
        """Two of one guest and one of another: here, joining, leaving."""
        first = await tabs.open()
        join = """() => Echo.join("proof.2")
          .here(note("here")).joining(note("joining")).leaving(note("leaving"))"""
        await first.evaluate(join)
        (mine,) = (await heard(first, "here"))[0]
        other = await tabs.open()
        await other.evaluate(join)
        (here,) = await heard(other, "here")
        assert len(here) == 2
        (theirs,) = await heard(first, "joining")
        assert theirs != mine
        second = await tabs.open(beside=first)
        await second.evaluate(join)
        (again,) = await heard(second, "here")
        assert sorted(again, key=str) == sorted([mine, theirs], key=str)
        await second.close()
        await other.close()
        assert await heard(first, "leaving") == [theirs]
        assert await log_of(first, "joining") == [theirs]

    async def test_whispers(self, tabs: Tabs) -> None:
        """To the others, and to nobody twice."""
        one, two = await tabs.open(), await tabs.open()
        for page in (one, two):
            await page.evaluate(
                """() => Echo.private("proof.3").subscribed(note("subscribed"))
                     .listenForWhisper("typing", note("typing"))"""
            )
            await heard(page, "subscribed")
        await one.evaluate("Echo.private('proof.3').whisper('typing', {on: true})")
        assert await heard(two, "typing") == [{"on": True}]
        assert await log_of(one, "typing") == []

    async def test_a_refused_channel_says_so(self, tabs: Tabs) -> None:
        """By the endpoint: no rule, no entry."""
        page = await tabs.open("403")
        await page.evaluate("Echo.private('secret').error(note('refused'))")
        (refusal,) = await heard(page, "refused")
        assert refusal["status"] == 403

    async def test_leaving_ends_it(self, tabs: Tabs) -> None:
        """Nothing is heard of a channel that was left."""
        page = await tabs.open()
        await page.evaluate(
            """() => { Echo.channel("proof.4").subscribed(note("a")).listen("Proof", note("left"));
                       Echo.channel("proof.5").subscribed(note("b")).listen("Proof", note("stays"));
            }"""
        )
        await heard(page, "a")
        await heard(page, "b")
        await page.evaluate("Echo.leave('proof.4')")
        # A channel's messages follow the frames that the client sent before.
        await page.evaluate("Echo.channel('proof.6').subscribed(note('c'))")
        await heard(page, "c")
        await publish(tabs.site, "proof.4", "Proof", 1)
        await publish(tabs.site, "proof.5", "Proof", 2)
        assert await heard(page, "stays") == [2]
        assert await log_of(page, "left") == []


class TestPusherJs:
    """pusher-js by itself, with signatures made here."""

    async def test_members(self, tabs: Tabs) -> None:
        """Count, ids, information and the page's own entry; a member's whisper names it."""
        one, two = await tabs.open(user="ana"), await tabs.open(user="constructor")
        for page in (one, two):
            await page.evaluate(
                """() => { window.channel = client().subscribe("presence-js.2");
                     channel.bind("pusher:subscription_succeeded", note("in"));
                     channel.bind("client-typing", note("typing"));
                     channel.bind("pusher:member_added", note("added"));
                     channel.bind("pusher:member_removed", note("removed")); }"""
            )
            await heard(page, "in")
        assert await heard(one, "added") == [{"id": "constructor", "info": {"name": "CONSTRUCTOR"}}]
        members = await two.evaluate("[channel.members.count, channel.members.me.id]")
        assert members == [2, "constructor"]
        await one.evaluate("channel.trigger('client-typing', {user_id: 'eve'})")
        await heard(two, "typing")
        (entry,) = [entry for entry in await two.evaluate("log") if entry[0] == "typing"]
        assert entry[1:] == [{"user_id": "eve"}, {"user_id": "ana"}]
        await two.evaluate("channel.unsubscribe()")
        (removed,) = await heard(one, "removed")
        assert removed["id"] == "constructor"
        assert await one.evaluate("channel.members.count") == 1

    async def test_cache_channels(self, tabs: Tabs) -> None:
        """A miss is told, then the last event comes by itself."""
        page = await tabs.open()
        listen = """(name) => { const channel = client().subscribe(name);
          channel.bind("pusher:cache_miss", note("miss"));
          channel.bind("Proof", note("event")); }"""
        channel = f"private-cache-js.{tabs.site.port}"
        await page.evaluate(listen, channel)
        await heard(page, "miss")
        await publish(tabs.site, channel, "Proof", {"n": 1})
        await publish(tabs.site, channel, "Proof", {"n": 2})
        await heard(page, "event", 2)
        later = await tabs.open()
        await later.evaluate(listen, channel)
        assert await heard(later, "event") == [{"n": 2}]
        assert await log_of(later, "miss") == []

    async def test_subscription_count(self, tabs: Tabs) -> None:
        """As pusher-js keeps it on the channel."""
        one, two = await tabs.open(), await tabs.open()
        for page in (one, two):
            await page.evaluate(
                """() => { window.pusher = client(); window.channel = pusher.subscribe("js.3");
                     channel.bind("pusher:subscription_count", note("count")); }"""
            )
            await heard(page, "count")
        await heard(one, "count", 2)
        assert await one.evaluate("channel.subscriptionCount") == 2
        await two.evaluate("pusher.disconnect()")
        await heard(one, "count", 3)
        assert await one.evaluate("channel.subscriptionCount") == 1

    async def test_users_sign_in_and_are_written_to(self, tabs: Tabs) -> None:
        """By their id, wherever they are. Who is terminated does not come back."""
        one, two, other = [await tabs.open(user=user) for user in ("ana", "ana", "ben")]
        for page in (one, two, other):
            await page.evaluate(
                """() => { window.pusher = client(); pusher.signin();
                     pusher.user.bind("Letter", note("letter")); }"""
            )
            await true_in(page, "pusher.user.serverToUserChannel?.subscribed ?? false")
        await publish(tabs.site, "#server-to-user-ana", "Letter", {"text": "ż"})
        assert await heard(one, "letter") == await heard(two, "letter") == [{"text": "ż"}]
        await publish(tabs.site, "#server-to-user-ben", "Letter", 2)
        assert await heard(other, "letter") == [2]
        assert len(await log_of(one, "letter")) == 1
        with api(tabs.site, APP) as broadcaster:
            await asyncio.to_thread(broadcaster.terminate_user_connections, "ana")
        for page in (one, two):
            await self.gave_up(page, 4009)
        assert await other.evaluate("pusher.connection.state") == "connected"

    async def test_watchlists(self, tabs: Tabs) -> None:
        """Online and offline, as pusher-js passes them on."""
        watcher = await tabs.open(user="ana", watchlist=["ben", "eve"])
        await watcher.evaluate(
            """() => { window.pusher = client();
                 pusher.user.watchlist.bind("online", note("online"));
                 pusher.user.watchlist.bind("offline", note("offline")); pusher.signin(); }"""
        )
        assert (await heard(watcher, "offline"))[0]["user_ids"] == ["ben", "eve"]
        watched = await tabs.open(user="ben")
        await watched.evaluate("window.pusher = client(); pusher.signin()")
        assert (await heard(watcher, "online"))[0]["user_ids"] == ["ben"]
        await watched.close()
        assert (await heard(watcher, "offline", 2))[1]["user_ids"] == ["ben"]

    @staticmethod
    async def gave_up(page: Page, code: int) -> None:
        """Wait until pusher-js has been told `code` and has stopped for good."""

        async def is_told() -> bool:
            return code in [error.get("code") for error in await log_of(page, "error")]

        await await_until(is_told, what=f"an error {code}")
        # Where pusher-js would try again it is connecting, or unavailable.
        await true_in(page, "pusher.connection.state === 'disconnected'")

    @pytest.mark.parametrize(
        ("key", "code"), [("nobody", 4001), ("off-key", 4003), ("foreign-key", 4009)]
    )
    async def test_who_is_refused_gives_up(self, tabs: Tabs, key: str, code: int) -> None:
        """An HTTP error would be tried again for ever."""
        page = await tabs.open()
        await page.evaluate("(key) => { window.pusher = client({}, key); }", key)
        await self.gave_up(page, code)

    async def test_over_the_quota(self, tabs: Tabs) -> None:
        """The second socket of an application that has one gives up with 4004."""
        one, two = await tabs.open(), await tabs.open()
        await one.evaluate("window.pusher = client({}, 'small-key')")
        await true_in(one, "pusher.connection.state === 'connected'")
        await two.evaluate("window.pusher = client({}, 'small-key')")
        await self.gave_up(two, 4004)

    async def test_an_application_that_wants_tls(self, tabs: Tabs) -> None:
        """pusher-js tries TLS at once."""
        page = await tabs.open()
        await page.evaluate(
            """() => {
              const make = Pusher.Runtime.createWebSocket;
              Pusher.Runtime.createWebSocket = function (url) {
                note(url.split(":")[0])(url);
                return make.call(this, url);
              };
              client({wssPort: location.port, enabledTransports: ["ws", "wss"]}, "secure-key");
            }"""
        )
        assert 4000 in [error.get("code") for error in await heard(page, "error")]
        await heard(page, "wss")

    async def test_a_wrong_signature_reaches_the_channel(self, tabs: Tabs) -> None:
        """As an error of the subscription, and the connection stays."""
        page = await tabs.open()
        await page.evaluate(
            """() => { window.pusher = client({ channelAuthorization: {
                   customHandler: (_, callback) =>
                     callback(null, {auth: "proof-key:" + "0".repeat(64)})
                 } });
                 window.channel = pusher.subscribe("private-js.4");
                 channel.bind("pusher:subscription_error", note("refused"));
            }"""
        )
        (refusal,) = await heard(page, "refused")
        assert (refusal["type"], refusal["status"]) == ("AuthError", 401)
        assert await page.evaluate("pusher.connection.state") == "connected"

    async def test_too_many_whispers(self, tabs: Tabs) -> None:
        """The eleventh of a second is told as 4301, and the connection stays."""
        page = await tabs.open()
        await page.evaluate(
            """() => { window.pusher = client(); window.channel = pusher.subscribe("private-js.5");
                 channel.bind("pusher:subscription_succeeded", note("in")); }"""
        )
        await heard(page, "in")
        await page.evaluate(
            "() => { for (let n = 0; n < 11; n++) channel.trigger('client-a', {n}); }"
        )
        (error, *_) = await heard(page, "error")
        assert error["code"] == 4301
        assert await page.evaluate("pusher.connection.state") == "connected"


class TestPlainWebSocket:
    """A page without any library, and without a query string."""

    OPEN = """(answers) => {
      const socket = new WebSocket(`ws://${location.host}/app/hasty-key`);
      socket.onclose = ({ code }) => note("closed")(code);
      socket.onmessage = ({ data }) => {
        const { event } = JSON.parse(data);
        note(event)(null);
        if (event === "pusher:ping" && answers) socket.send('{"event":"pusher:pong"}');
      };
    }"""

    async def test_it_stays_if_it_answers_pings(self, tabs: Tabs) -> None:
        """And does nothing else, for many times the activity timeout."""
        page, silent = await tabs.open(), await tabs.open()
        await page.evaluate(self.OPEN, True)
        await silent.evaluate(self.OPEN, False)
        await heard(page, "pusher:ping", 5)
        assert await heard(silent, "closed") == [4202]
        assert await log_of(page, "closed") == []


async def test_everything_comes_back_after_a_restart(
    runserver: RunServer, new_page: NewPage
) -> None:
    """Channels, members and the signed-in user, without a line of the page's code."""
    site = runserver("memory", DJANGO_SETTINGS_MODULE="tests.e2e.proof.settings")
    tabs = Tabs(site, new_page)
    ana, ben = await tabs.open(user="ana"), await tabs.open(user="ben")
    for page in (ana, ben):
        await page.evaluate(
            """() => { window.pusher = client(); pusher.signin();
                 pusher.user.bind("Letter", note("letter"));
                 window.channel = pusher.subscribe("presence-js.6");
                 channel.bind("pusher:subscription_succeeded", note("in"));
                 channel.bind("Proof", note("event")); }"""
        )
        await heard(page, "in")
    await asyncio.to_thread(site.stop)
    for page in (ana, ben):
        await true_in(page, "!channel.subscribed")
    await asyncio.to_thread(site.start)
    for page in (ana, ben):
        # After its first attempt has failed pusher-js lets fifteen seconds pass, then thirty.
        await heard(page, "in", 2)
        await true_in(page, "channel.members.count === 2")
        await true_in(page, "pusher.user.serverToUserChannel?.subscribed ?? false")
    await publish(site, "presence-js.6", "Proof", 1)
    await publish(site, "#server-to-user-ben", "Letter", 2)
    assert await heard(ana, "event") == await heard(ben, "event") == [1]
    assert await heard(ben, "letter") == [2]
    assert await log_of(ana, "letter") == []
