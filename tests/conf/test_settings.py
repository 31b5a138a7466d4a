"""``BROADCASTING``: defaults, mistakes and what they are answered with."""

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from pytest_django import Settings as ProjectSettings

from broadcasting.applications import WEBHOOK_EVENTS, Application, Webhook
from broadcasting.conf import LOCAL_HOSTS, CircuitBreaker, Queue, Settings, get_settings

APP: dict[str, Any] = {"ID": "7", "KEY": "key", "SECRET": "secret"}
MEMORY = "broadcasting.drivers.memory.MemoryBroadcaster"


def settings_of(**broadcasting: Any) -> Settings:
    """Return the settings that a project with this ``BROADCASTING`` has."""
    with override_settings(BROADCASTING=broadcasting):
        return get_settings()


def app_of(**options: Any) -> Application:
    """Return the application with these options."""
    return settings_of(APPS=[APP | options]).apps[0]


class TestDefaults:
    def test_a_project_need_not_write_anything(self) -> None:
        """Without a channel layer events stay in the process."""
        with override_settings(CHANNEL_LAYERS={}):
            settings = settings_of()
        assert settings.default == "memory"
        assert settings.server.connection is None
        assert settings.server.path == ""
        assert sorted(settings.connections) == ["channels", "log", "memory", "null"]

    def test_not_even_the_setting(self, settings: ProjectSettings) -> None:
        """It may be missing altogether."""
        del settings.BROADCASTING
        assert get_settings().default == "channels"

    def test_a_channel_layer_is_used_where_there_is_one(self) -> None:
        """As a project that has one expects."""
        with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "x"}}):
            assert settings_of().default == "channels"
            assert settings_of(DEFAULT="null").default == "null"

    def test_an_application_has_documented_limits(self) -> None:
        """The figures of docs/settings.md."""
        app = app_of()
        assert (app.id, app.key, app.secret) == ("7", "key", "secret")
        assert app.activity_timeout == 30
        assert app.max_channels == 100
        assert app.max_frame_size == 16_384
        assert app.max_event_size == 10_240
        assert app.max_members == 100
        assert app.max_user_info_size == 1_024
        assert app.max_channel_name_length == 200
        assert app.max_subscription_rate == 20
        assert app.max_client_event_rate == 10
        assert app.max_connections is None
        assert app.authorization_timeout is None
        assert app.presence_grace == 0

    def test_what_lets_clients_do_more_is_off(self) -> None:
        """Until somebody asks for it."""
        app = app_of()
        assert app.enabled
        off = "client_events subscription_count watchlist force_tls replay_cache webhooks"
        assert not any(getattr(app, name) for name in off.split())
        assert app.encryption_master_key is None


class TestDerivedApplication:
    def test_it_is_the_same_every_time(self) -> None:
        """Every process of a site derives the same one."""
        first = settings_of().apps
        second = settings_of(DEFAULT="null").apps
        assert first == second
        assert len(first) == 1
        assert first[0].id == "1"
        assert len(first[0].key) == 20
        assert len(first[0].secret) == 64
        assert first[0].key not in first[0].secret

    def test_it_can_be_given_options(self) -> None:
        """A single application that does not say who it is is the derived one."""
        plain = settings_of().apps[0]
        (app,) = settings_of(APPS=[{"CLIENT_EVENTS": True}]).apps
        assert (app.id, app.key, app.secret) == (plain.id, plain.key, plain.secret)
        assert app.client_events

    def test_another_secret_key_makes_another(self) -> None:
        """Nobody can guess it who does not know SECRET_KEY."""
        ours = settings_of().apps[0]
        with override_settings(SECRET_KEY="another"):
            theirs = settings_of().apps[0]
        assert theirs.key != ours.key
        assert theirs.secret != ours.secret

    def test_its_secret_is_not_shown(self) -> None:
        """Nor that of any other, in the whole of the settings."""
        settings = settings_of()
        assert settings.apps[0].secret not in repr(settings)

    def test_no_address_is_shown_that_may_hold_a_secret(self) -> None:
        """That of Redis has a password in it, that of a webhook a token."""
        settings = settings_of(
            CONNECTIONS={"r": {"DRIVER": "x", "URL": "redis://:password@localhost"}},
            APPS=[{"WEBHOOKS": [{"URL": "https://example.com/?token=t0k3n"}]}],
        )
        assert settings.connections["r"].options["url"] == "redis://:password@localhost"
        assert settings.apps[0].webhooks[0].url == "https://example.com/?token=t0k3n"
        assert "password" not in repr(settings)
        assert "t0k3n" not in repr(settings)


class TestSecrets:
    def test_the_first_signs_and_all_count(self) -> None:
        """A secret is changed by making the old one a fallback."""
        app = app_of(SECRET="new", SECRET_FALLBACKS=["old"])
        assert app.secrets == ("new", "old")
        assert "old" not in repr(app)

    def test_a_master_key_is_base64(self) -> None:
        """Of 32 bytes, which are not shown."""
        app = app_of(ENCRYPTION_MASTER_KEY_BASE64="MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
        assert app.encryption_master_key == b"0123456789abcdef0123456789abcdef"
        assert "0123456789abcdef" not in repr(app)


class TestWebhooks:
    def test_all_events_unless_said_otherwise(self) -> None:
        """Of all channels, to public addresses only."""
        (webhook,) = app_of(WEBHOOKS=[{"URL": "https://example.com/hook"}]).webhooks
        assert webhook == Webhook(url="https://example.com/hook")
        assert webhook.events == WEBHOOK_EVENTS

    def test_a_private_address_may_be_without_tls(self) -> None:
        """Where it is allowed in so many words."""
        (webhook,) = app_of(
            WEBHOOKS=[
                {"URL": "http://127.0.0.1:1/", "ALLOW_PRIVATE": True, "EVENTS": ["cache_miss"]}
            ]
        ).webhooks
        assert webhook.allow_private
        assert webhook.events == ("cache_miss",)

    def test_each_has_channels_of_its_own(self) -> None:
        """Several may be told of one application."""
        webhooks = app_of(
            WEBHOOKS=[
                {"URL": "https://a.example?token=x", "CHANNEL_SUFFIX": "-eu"},
                {"URL": "https://b.example", "CHANNEL_PREFIX": "presence-"},
            ]
        ).webhooks
        assert webhooks == (
            Webhook(url="https://a.example?token=x", channel_suffix="-eu"),
            Webhook(url="https://b.example", channel_prefix="presence-"),
        )

    @pytest.mark.parametrize(
        "url",
        [
            "https://user:password@example.com/",
            "https://@example.com/",
            "https://example.com/a b",
            "https://example.com/a\nb",
            " https://example.com/",
            "https://example.com/ż",
            "https://żółw.example/",
            "https://example.com:0/",
            "https://example.com:99999/",
            "//example.com/",
            None,
        ],
    )
    @pytest.mark.parametrize("allow_private", [True, False])
    def test_what_cannot_be_sent_as_it_is_written_is_refused(
        self, url: object, allow_private: bool
    ) -> None:
        """Nor may a password stand in the address, which is logged."""
        with pytest.raises(ImproperlyConfigured, match="must be an address") as caught:
            app_of(WEBHOOKS=[{"URL": url, "ALLOW_PRIVATE": allow_private}])
        assert "password" not in str(caught.value)


class TestOverriding:
    def test_each_setting_that_is_read_resets(self) -> None:
        """Tests of a project may override what they like."""
        before = get_settings()
        for name, value in {
            "BROADCASTING": {"DEFAULT": "null"},
            "SECRET_KEY": "another",
            "ALLOWED_HOSTS": ["example.com"],
            "CSRF_TRUSTED_ORIGINS": ["https://example.com"],
            "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
        }.items():
            with override_settings(**{name: value}):
                assert get_settings() != before, name
            assert get_settings() == before, name
        with override_settings(BROADCASTING={}):
            assert get_settings().default == "channels"
            with override_settings(CHANNEL_LAYERS={}):
                assert get_settings().default == "memory"
        with override_settings(ALLOWED_HOSTS=[]):
            assert get_settings().apps[0].allowed_hosts == ()
            with override_settings(DEBUG=True):
                assert get_settings().apps[0].allowed_hosts == LOCAL_HOSTS

    def test_other_settings_do_not(self) -> None:
        """They are computed once."""
        before = get_settings()
        with override_settings(LANGUAGE_CODE="ko"):
            assert get_settings() is before


class TestConnections:
    def test_options_arrive_in_lower_case(self) -> None:
        """DRIVER and APP are not among them."""
        settings = settings_of(
            CONNECTIONS={"x": {"DRIVER": MEMORY, "APP": "1", "URL": "u", "Max_Size": 1}}
        )
        connection = settings.connection("x")
        assert connection.alias == "x"
        assert connection.driver == MEMORY
        assert connection.options == {"url": "u", "max_size": 1}

    def test_a_built_in_alias_can_be_given_options(self) -> None:
        """An entry of that name takes its place."""
        settings = settings_of(CONNECTIONS={"memory": {"DRIVER": MEMORY, "URL": "u"}})
        assert settings.connection("memory").options == {"url": "u"}
        assert settings.connection("null").options == {}

    def test_a_connection_belongs_to_the_first_application_unless_told(self) -> None:
        """By ID, which may be written as a number."""
        settings = settings_of(
            APPS=[APP, {"ID": 8, "KEY": "other", "SECRET": "s"}],
            CONNECTIONS={"x": {"DRIVER": MEMORY}, "y": {"DRIVER": MEMORY, "APP": 8}},
        )
        assert settings.connection("x").app.id == "7"
        assert settings.connection("y").app.key == "other"
        assert settings.connection("memory").app.id == "7"

    def test_an_unknown_alias_is_answered_with_those_that_exist(self) -> None:
        """And with what to do."""
        with pytest.raises(ImproperlyConfigured) as caught:
            settings_of(CONNECTIONS={"mine": {"DRIVER": MEMORY}}).connection("yours")
        text = str(caught.value)
        assert "'yours'" in text
        assert "channels, log, memory, mine, null" in text
        assert 'BROADCASTING["CONNECTIONS"]' in text


class TestOrigins:
    """The rules themselves are in test_credentials; here, where they come from."""

    def test_by_default_the_sites_own_pages(self) -> None:
        """ALLOWED_HOSTS and CSRF_TRUSTED_ORIGINS, as for forms."""
        with override_settings(
            ALLOWED_HOSTS=["example.com"],
            CSRF_TRUSTED_ORIGINS=["https://*.example.org", "https://other.example:8443"],
        ):
            for app in (app_of(), settings_of().apps[0]):
                assert app.accepts_origin("http://example.com:8000")
                assert app.accepts_origin("https://a.example.org")
                assert app.accepts_origin("https://other.example:8443")
                assert not app.accepts_origin("https://a.example.org.evil.example")
                assert not app.accepts_origin("https://other.example")
                assert not app.accepts_origin("https://example.com.evil.example")

    def test_a_trusted_origin_that_is_none_admits_nobody(self) -> None:
        """And breaks no connection; Django's own check reports it."""
        with override_settings(
            ALLOWED_HOSTS=[],
            CSRF_TRUSTED_ORIGINS=["example.com", "https://[", "https://example.com:port"],
        ):
            app = app_of()
        assert not app.accepts_origin("https://example.com")

    def test_with_debug_and_no_hosts_this_machine(self) -> None:
        """As Django itself does, IPv6 included."""
        with override_settings(DEBUG=True, ALLOWED_HOSTS=[]):
            app = app_of()
        assert app.allowed_hosts == LOCAL_HOSTS
        for origin in (
            "http://localhost:8000",
            "http://site.localhost:8000",
            "http://127.0.0.1:8000",
            "http://[::1]:8000",
        ):
            assert app.accepts_origin(origin), origin
        assert not app.accepts_origin("http://example.com")

    @pytest.mark.parametrize(("debug", "hosts"), [(False, []), (True, ["example.com"])])
    def test_otherwise_this_machine_is_as_foreign_as_any(
        self, debug: bool, hosts: list[str]
    ) -> None:
        """Without DEBUG, or with hosts of its own."""
        with override_settings(DEBUG=debug, ALLOWED_HOSTS=hosts):
            assert not app_of().accepts_origin("http://localhost:8000")

    def test_a_list_of_its_own_takes_their_place(self) -> None:
        """The site's hosts are then not admitted by themselves."""
        with override_settings(ALLOWED_HOSTS=["example.com"]):
            app = app_of(ALLOWED_ORIGINS=["https://shop.example"])
        assert app.accepts_origin("https://shop.example")
        assert not app.accepts_origin("https://example.com")
        assert not app_of(ALLOWED_ORIGINS=[]).accepts_origin("http://testserver")
        assert app_of(ALLOWED_ORIGINS=("*",)).accepts_origin("https://anywhere.example")


class TestServer:
    @pytest.mark.parametrize(
        ("path", "result"), [("", ""), ("/", ""), ("ws", "ws"), ("/a/b/", "a/b")]
    )
    def test_slashes_around_the_path_do_not_matter(self, path: str, result: str) -> None:
        """It is put between slashes anyway."""
        assert settings_of(SERVER={"PATH": path}).server.path == result

    def test_the_connection_is_an_alias(self) -> None:
        """Checked as soon as the settings are read."""
        assert settings_of(SERVER={"CONNECTION": "memory"}).server.connection == "memory"


MISTAKES: list[tuple[Any, list[str]]] = [
    ("redis", ["BROADCASTING must be a dictionary, not str"]),
    ({"DEFALT": "x"}, ["BROADCASTING has unknown keys: DEFALT", "DEFAULT, CONNECTIONS"]),
    ({1: "x", "a": 2}, ["unknown keys: 1, a"]),
    (
        {"DEFAULT": "radis"},
        ["'radis'", "Known connections: channels", 'BROADCASTING["CONNECTIONS"]'],
    ),
    ({"DEFAULT": None}, ["connection None"]),
    ({"DEFAULT": ["redis"]}, ["connection ['redis']"]),
    ({"SERVER": {"CONNECTION": "radis"}}, ["'radis'", "Known connections"]),
    ({"SERVER": []}, ['BROADCASTING["SERVER"] must be a dictionary']),
    (
        {"SERVER": {"PROT": 1}},
        ['BROADCASTING["SERVER"] has unknown keys: PROT', "CONNECTION, PATH, HOST"],
    ),
    ({"SERVER": {"PATH": None}}, ['BROADCASTING["SERVER"]["PATH"] is None', "text"]),
    ({"SERVER": {"HOST": None}}, ['BROADCASTING["SERVER"]["HOST"] is None', "text"]),
    ({"SERVER": {"PORT": "80"}}, ['BROADCASTING["SERVER"]["PORT"] is \'80\'', "above 0"]),
    ({"SERVER": {"MAX_CONNECTIONS": 0}}, ['["MAX_CONNECTIONS"] is 0', "above 0"]),
    ({"SERVER": {"METRICS_TOKEN": "a b"}}, ['["METRICS_TOKEN"] must be text without spaces']),
    ({"CONNECTIONS": []}, ['BROADCASTING["CONNECTIONS"] must be a dictionary']),
    ({"CONNECTIONS": {"x": MEMORY}}, ["BROADCASTING[\"CONNECTIONS\"]['x'] must be a dictionary"]),
    ({"CONNECTIONS": {"x": {}}}, ["['x'] names no driver", '"DRIVER"', MEMORY]),
    ({"CONNECTIONS": {"x": {"DRIVER": object}}}, ["['x'] names no driver"]),
    (
        {"CONNECTIONS": {"x": {"DRIVER": MEMORY, "APP": "9"}}},
        ["BROADCASTING[\"CONNECTIONS\"]['x'][\"APP\"] is '9'", 'BROADCASTING["APPS"] (1)'],
    ),
    ({"APPS": []}, ['BROADCASTING["APPS"] must be a list', "Leave these out"]),
    ({"APPS": [{}, {}]}, ['BROADCASTING["APPS"][0] has no "ID"']),
    ({"APPS": [{"KEY": "k"}]}, ['BROADCASTING["APPS"][0] has no "ID"']),
    *(
        (
            {"APPS": [APP | {name: value}]},
            [f'BROADCASTING["APPS"][0]["{name}"] is {value!r}', "True or False"],
        )
        for name in ("ENABLED", "FORCE_TLS", "CLIENT_EVENTS", "SUBSCRIPTION_COUNT", "WATCHLIST")
        for value in (None, 1, "yes")
    ),
    ({"APPS": [APP | {"PRESENCE_GRACE": -1}]}, ['["PRESENCE_GRACE"] is -1', "from 0 on"]),
    ({"APPS": [APP | {"AUTHORIZATION_TIMEOUT": 0}]}, ['["AUTHORIZATION_TIMEOUT"] is 0']),
    ({"APPS": [APP | {"MAX_CONNECTIONS": "x"}]}, ["[\"MAX_CONNECTIONS\"] is 'x'"]),
    ({"APPS": [APP | {"MAX_CHANNEL_NAME_LENGTH": 201}]}, ["is 201", "200 characters"]),
    ({"APPS": [APP | {"SECRET_FALLBACKS": "x"}]}, ['["SECRET_FALLBACKS"] must be a list']),
    ({"APPS": [APP | {"SECRET_FALLBACKS": [""]}]}, ['["SECRET_FALLBACKS"] must be a list']),
    ({"APPS": [APP | {"REPLAY_CACHE": "x"}]}, ["[\"REPLAY_CACHE\"] is 'x'", "CACHES"]),
    *(
        (
            {"APPS": [APP | {"ENCRYPTION_MASTER_KEY_BASE64": value}]},
            ["is not 32 bytes in base64", "openssl rand"],
        )
        for value in ("", "x", "AAAA", "A" * 43, "!" * 44, 1, b"A" * 44)
    ),
    ({"APPS": [APP | {"ENCRYPTION_MASTER_KEY": b"x" * 32}]}, ["unknown keys: ENCRYPTION_MASTER"]),
    ({"APPS": [APP | {"WEBHOOKS": {}}]}, ['["WEBHOOKS"] must be a list']),
    ({"APPS": [APP | {"WEBHOOKS": ["x"]}]}, ['["WEBHOOKS"][0] must be a dictionary']),
    ({"APPS": [APP | {"WEBHOOKS": [{}]}]}, ['["WEBHOOKS"][0]["URL"]', "https://"]),
    *(
        ({"APPS": [APP | {"WEBHOOKS": [{"URL": url}]}]}, ["must be an address"])
        for url in ("http://example.com", "ftp://example.com", "https://", "https://[", 1)
    ),
    (
        {"APPS": [APP | {"WEBHOOKS": [{"URL": "https://x", "EVENTS": ["x"]}]}]},
        ["names 'x'", "channel_occupied"],
    ),
    (
        {"APPS": [APP | {"WEBHOOKS": [{"URL": "https://x", "CHANNEL_PREFIX": 1}]}]},
        ['["CHANNEL_PREFIX"] must be text'],
    ),
    (
        {"APPS": [APP | {"WEBHOOKS": [{"URL": "https://x", "ALLOW_PRIVATE": 1}]}]},
        ['["ALLOW_PRIVATE"] must be True or False'],
    ),
    ({"APPS": APP}, ['BROADCASTING["APPS"] must be a list']),
    ({"APPS": ["x"]}, ['BROADCASTING["APPS"][0] must be a dictionary']),
    ({"APPS": [APP, {"ID": "8", "KEY": "k"}]}, ['BROADCASTING["APPS"][1] has no "SECRET"']),
    ({"APPS": [APP | {"KEY": ""}]}, ['BROADCASTING["APPS"][0] has no "KEY"']),
    ({"APPS": [APP | {"ID": None}]}, ['BROADCASTING["APPS"][0] has no "ID"']),
    ({"APPS": [APP | {"ID": "a:b"}]}, ["[\"ID\"] is 'a:b'", "letters, digits, dots"]),
    ({"APPS": [APP | {"ID": "a/b"}]}, ["[\"ID\"] is 'a/b'", "letters, digits, dots"]),
    ({"APPS": [APP | {"KEY": "a/b"}]}, ["[\"KEY\"] is 'a/b'", "letters, digits, dots"]),
    ({"APPS": [APP | {"KEY": "a&b"}]}, ["[\"KEY\"] is 'a&b'", "letters, digits, dots"]),
    ({"APPS": [APP | {"ID": "a/b"}]}, ["[\"ID\"] is 'a/b'"]),
    ({"APPS": [APP, APP | {"KEY": "k"}]}, ["have the same ID, '7'", "give each its own"]),
    ({"APPS": [APP, APP | {"ID": "8"}]}, ["have the same KEY, 'key'", "give each its own"]),
    ({"APPS": [APP | {"MAX_CHANELS": 1}]}, ["unknown keys: MAX_CHANELS", "MAX_CHANNELS"]),
    ({"APPS": [APP | {"ALLOWED_HOSTS": []}]}, ["unknown keys: ALLOWED_HOSTS"]),
    *(
        (
            {"APPS": [APP | {name: value}]},
            [f'BROADCASTING["APPS"][0]["{name}"] is {value!r}', "a whole number above 0"],
        )
        for name in (
            "ACTIVITY_TIMEOUT",
            "MAX_CHANNELS",
            "MAX_CHANNEL_NAME_LENGTH",
            "MAX_SUBSCRIPTION_RATE",
            "MAX_CLIENT_EVENT_RATE",
            "MAX_FRAME_SIZE",
            "MAX_EVENT_SIZE",
            "MAX_MEMBERS",
            "MAX_USER_INFO_SIZE",
        )
        for value in (0, -1, 1.5, "30", True, None)
    ),
    *(
        (
            {"APPS": [APP | {"ALLOWED_ORIGINS": value}]},
            ['BROADCASTING["APPS"][0]["ALLOWED_ORIGINS"] must be a list of origins', repr(value)],
        )
        for value in (
            "https://example.com",
            {"https://example.com": 1},
            [1],
            ["example.com"],
            ["https://example.com/"],
            ["https://example.com/path"],
            ["ws://example.com"],
            ["https://"],
            [""],
            ["null"],
            ["https://["],
            ["https://example.com:port"],
            ["https://user@example.com"],
            ["https://example.com?query"],
        )
    ),
]


@pytest.mark.parametrize(("broadcasting", "texts"), MISTAKES, ids=lambda value: str(value)[:60])
def test_a_mistake_names_the_setting_and_what_it_should_be(
    broadcasting: Any, texts: list[str]
) -> None:
    """One sentence that can be acted on, and never a secret."""
    with (
        override_settings(BROADCASTING=broadcasting),
        pytest.raises(ImproperlyConfigured) as caught,
    ):
        get_settings()
    for text in texts:
        assert text in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_mistake_does_not_print_secrets() -> None:
    """It may end up in a log."""
    for entry in (
        APP | {"SECRET": "very-secret", "X": 1},
        APP | {"SECRET": "very-secret", "ID": ""},
        APP | {"SECRET_FALLBACKS": ["very-secret", 1]},
        APP | {"ENCRYPTION_MASTER_KEY_BASE64": "very-secret"},
    ):
        with (
            override_settings(BROADCASTING={"APPS": [entry]}),
            pytest.raises(ImproperlyConfigured) as caught,
        ):
            get_settings()
        assert "very-secret" not in str(caught.value)


class TestQueue:
    def test_nothing_is_queued_unless_asked_for(self) -> None:
        """An event may still name a queue: then the other defaults hold."""
        assert settings_of().queue == settings_of(QUEUE=None).queue == Queue(all=False)

    def test_empty_dictionary_asks_for_it(self) -> None:
        """With the figures of docs/queues.md."""
        assert settings_of(QUEUE={}).queue == Queue(
            backend="default",
            name="default",
            all=True,
            tries=5,
            backoff=(1, 5, 15, 60),
            expires=None,
            cache="default",
        )

    @pytest.mark.parametrize(
        ("queue", "expected"),
        [
            ([], r"\"QUEUE\"\] must be a dictionary"),
            ({"BAKEND": "x"}, "unknown keys: BAKEND"),
            ({"BACKEND": None}, r"\"BACKEND\"\] is None; it must be text"),
            ({"NAME": ""}, r"\"NAME\"\] is ''"),
            ({"ALL": 1}, r"\"ALL\"\] is 1; it must be True or False"),
            ({"TRIES": 0}, r"\"TRIES\"\] is 0"),
            ({"TRIES": True}, r"\"TRIES\"\] is True"),
            ({"BACKOFF": []}, r"\"BACKOFF\"\] is \[\]; it must be a list of seconds"),
            ({"BACKOFF": 5}, r"\"BACKOFF\"\] is 5; it must be a list of seconds"),
            ({"BACKOFF": [1, -1]}, r"\"BACKOFF\"\] is -1"),
            ({"BACKOFF": ["1"]}, r"\"BACKOFF\"\] is '1'"),
            ({"EXPIRES": 0}, r"\"EXPIRES\"\] is 0"),
            ({"CACHE": "nowhere"}, "'nowhere', which is no alias in CACHES"),
        ],
    )
    def test_mistakes_are_named(self, queue: object, expected: str) -> None:
        """With the key and what it must be."""
        with pytest.raises(ImproperlyConfigured, match=expected):
            settings_of(QUEUE=queue)


class TestCircuitBreaker:
    def test_it_is_on(self) -> None:
        """With the figures of docs/queues.md, for every connection and the queue."""
        settings = settings_of()
        assert settings.circuit_breaker == CircuitBreaker(failures=5, seconds=10, slow=0.1)
        assert settings.connection("memory").circuit_breaker == settings.circuit_breaker

    def test_connection_may_have_its_own(self) -> None:
        """It is not handed to the driver, and starts from the defaults."""
        settings = settings_of(
            CIRCUIT_BREAKER={"FAILURES": 2, "SECONDS": 30},
            CONNECTIONS={
                "own": {"DRIVER": MEMORY, "CIRCUIT_BREAKER": {"SECONDS": 0.5}},
                "none": {"DRIVER": MEMORY, "CIRCUIT_BREAKER": None},
                "shared": {"DRIVER": MEMORY},
            },
        )
        assert settings.connection("own").circuit_breaker == CircuitBreaker(seconds=0.5)
        assert settings.connection("own").options == {}
        assert settings.connection("none").circuit_breaker.failures is None
        assert settings.connection("shared").circuit_breaker == CircuitBreaker(
            failures=2, seconds=30
        )

    @pytest.mark.parametrize(
        ("breaker", "expected"),
        [
            (5, r"\"CIRCUIT_BREAKER\"\] must be a dictionary"),
            ({"FAILURES": 0}, r"\"FAILURES\"\] is 0; .* None in place of the whole"),
            ({"FAILURES": None}, r"\"FAILURES\"\] is None"),
            ({"SECONDS": -1}, r"\"SECONDS\"\] is -1"),
            ({"SLOW": float("nan")}, r"\"SLOW\"\] is nan"),
            ({"FAILS": 1}, "unknown keys: FAILS"),
        ],
    )
    def test_mistakes_are_named(self, breaker: object, expected: str) -> None:
        """With the key, and the connection where it is that of one."""
        with pytest.raises(ImproperlyConfigured, match=expected):
            settings_of(CIRCUIT_BREAKER=breaker)
        with pytest.raises(ImproperlyConfigured, match=rf"\['x'\]\[.*{expected.lstrip('[')}"):
            settings_of(CONNECTIONS={"x": {"DRIVER": MEMORY, "CIRCUIT_BREAKER": breaker}})
