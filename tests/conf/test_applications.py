"""``APPS``: credentials, limits, origins, webhooks and mistakes."""

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from broadcasting.applications import WEBHOOK_EVENTS, Application, Webhook
from broadcasting.conf import get_settings
from broadcasting.conf.applications import LOCAL_HOSTS

APP: dict[str, Any] = {"ID": "7", "KEY": "key", "SECRET": "secret"}


def apps_of(*entries: Any) -> tuple[Application, ...]:
    """Return the applications of a project with these ``APPS``, without any if there are none."""
    with override_settings(BROADCASTING={"APPS": list(entries)} if entries else {}):
        return get_settings().apps


def app_of(**options: Any) -> Application:
    """Return the application with these options."""
    return apps_of(APP | options)[0]


def test_an_application_has_documented_limits() -> None:
    """The figures of docs/settings.md."""
    app = app_of()
    assert (app.id, app.key, app.secret) == ("7", "key", "secret")
    limits = {
        "activity_timeout": 30,
        "authorization_timeout": None,
        "presence_grace": 0,
        "max_channels": 100,
        "max_channel_name_length": 200,
        "max_client_event_rate": 10,
        "max_connections": None,
        "max_event_size": 10_240,
        "max_frame_size": 16_384,
        "max_members": 100,
        "max_subscription_rate": 20,
        "max_user_info_size": 1_024,
    }
    assert {name: getattr(app, name) for name in limits} == limits


def test_what_lets_clients_do_more_is_off() -> None:
    """Until somebody asks for it."""
    app = app_of()
    assert app.enabled
    off = "client_events subscription_count watchlist force_tls replay_cache webhooks"
    assert not any(getattr(app, name) for name in off.split())
    assert app.encryption_master_key is None


def test_derived_credentials_are_the_same_every_time() -> None:
    """Every process of a site derives the same ones, which a single entry may have options with."""
    (app,) = apps_of()
    (with_options,) = apps_of({"CLIENT_EVENTS": True})
    assert (app.id, len(app.key), len(app.secret)) == ("1", 20, 64)
    assert app.key not in app.secret
    assert (app.id, app.key, app.secret) == (
        with_options.id,
        with_options.key,
        with_options.secret,
    )
    assert with_options.client_events


def test_another_secret_key_derives_others() -> None:
    """Nobody can guess them who does not know SECRET_KEY."""
    (ours,) = apps_of()
    with override_settings(SECRET_KEY="another"):
        (theirs,) = apps_of()
    assert theirs.key != ours.key
    assert theirs.secret != ours.secret


def test_the_first_secret_signs_and_all_count() -> None:
    """A secret is changed by making the old one a fallback."""
    app = app_of(SECRET="new", SECRET_FALLBACKS=["old"])
    assert app.secrets == ("new", "old")
    assert "old" not in repr(app)


def test_a_master_key_is_base64_of_32_bytes() -> None:
    """It is not shown."""
    app = app_of(ENCRYPTION_MASTER_KEY_BASE64="MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
    assert app.encryption_master_key == b"0123456789abcdef0123456789abcdef"
    assert "0123456789abcdef" not in repr(app)
    assert app_of(ENCRYPTION_MASTER_KEY_BASE64=None).encryption_master_key is None


class TestOrigins:
    """Where the rules come from; tests/test_applications.py has the rules themselves."""

    def test_by_default_the_sites_own_pages(self) -> None:
        """ALLOWED_HOSTS and CSRF_TRUSTED_ORIGINS, as for forms."""
        with override_settings(
            ALLOWED_HOSTS=["example.com"],
            CSRF_TRUSTED_ORIGINS=["https://*.example.org", "https://other.example:8443"],
        ):
            for app in (app_of(), app_of(ALLOWED_ORIGINS=None), *apps_of()):
                assert app.accepts_origin("http://example.com:8000")
                assert app.accepts_origin("https://a.example.org")
                assert app.accepts_origin("https://other.example:8443")
                assert not app.accepts_origin("https://other.example")

    def test_a_trusted_origin_that_is_none_admits_nobody(self) -> None:
        """And breaks no connection; Django's own check reports it."""
        with override_settings(
            ALLOWED_HOSTS=[],
            CSRF_TRUSTED_ORIGINS=["example.com", "https://[", "https://example.com:port"],
        ):
            assert not app_of().accepts_origin("https://example.com")

    @pytest.mark.parametrize(
        ("debug", "hosts", "admits"),
        [(True, [], True), (False, [], False), (True, ["example.com"], False)],
    )
    def test_with_debug_and_no_hosts_this_machine(
        self, debug: bool, hosts: list[str], admits: bool
    ) -> None:
        """As Django itself does, IPv6 included."""
        with override_settings(DEBUG=debug, ALLOWED_HOSTS=hosts):
            app = app_of()
        assert (app.allowed_hosts == LOCAL_HOSTS) == admits
        for host in ("localhost", "site.localhost", "127.0.0.1", "[::1]"):
            assert app.accepts_origin(f"http://{host}:8000") == admits, host

    def test_a_list_of_its_own_takes_their_place(self) -> None:
        """The site's hosts are then not admitted by themselves."""
        with override_settings(ALLOWED_HOSTS=["example.com"]):
            app = app_of(ALLOWED_ORIGINS=["https://shop.example"])
        assert app.accepts_origin("https://shop.example")
        assert not app.accepts_origin("https://example.com")
        assert not app_of(ALLOWED_ORIGINS=[]).accepts_origin("http://testserver")
        assert app_of(ALLOWED_ORIGINS=("*",)).accepts_origin("https://anywhere.example")


class TestWebhooks:
    def test_defaults(self) -> None:
        """All events of all channels, to public addresses only."""
        (webhook,) = app_of(WEBHOOKS=[{"URL": "https://example.com/hook"}]).webhooks
        assert webhook == Webhook(url="https://example.com/hook")
        assert webhook.events == WEBHOOK_EVENTS

    def test_several(self) -> None:
        """Each with options of its own; a private address may be without TLS."""
        local = {"URL": "http://127.0.0.1:1/", "ALLOW_PRIVATE": True, "EVENTS": ["cache_miss"]}
        suffixed = {"URL": "https://a.example?token=x", "CHANNEL_SUFFIX": "-eu"}
        assert app_of(WEBHOOKS=[local, suffixed]).webhooks == (
            Webhook(url="http://127.0.0.1:1/", allow_private=True, events=("cache_miss",)),
            Webhook(url="https://a.example?token=x", channel_suffix="-eu"),
        )

    @pytest.mark.parametrize(
        "url",
        [
            *("https://user:password@example.com/", "https://@example.com/", "//example.com/"),
            *("https://example.com/a b", "https://example.com/a\nb", " https://example.com/"),
            *("https://example.com/ż", "https://żółw.example/", "https://example.com:0/"),
            *("https://example.com:99999/", "ftp://example.com", "https://", "https://[", 1, None),
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


OPTIONS: list[tuple[dict[str, Any], list[str]]] = [
    *(({name: None}, [f'["{name}"] is None', "True or False"]) for name in (
        "ENABLED", "FORCE_TLS", "CLIENT_EVENTS", "SUBSCRIPTION_COUNT", "WATCHLIST")),
    *(({"ENABLED": value}, ["True or False"]) for value in (1, "yes")),
    *(({name: None}, [f'["{name}"] is None', "a whole number, 1 or more"]) for name in (
        "ACTIVITY_TIMEOUT", "MAX_CHANNELS", "MAX_CHANNEL_NAME_LENGTH", "MAX_SUBSCRIPTION_RATE",
        "MAX_CLIENT_EVENT_RATE", "MAX_FRAME_SIZE", "MAX_EVENT_SIZE", "MAX_MEMBERS",
        "MAX_USER_INFO_SIZE")),
    *(({"MAX_MEMBERS": value}, [repr(value), "1 or more"]) for value in (0, -1, 1.5, "30", True)),
    ({"PRESENCE_GRACE": -1}, ['["PRESENCE_GRACE"] is -1', "0 or more"]),
    ({"AUTHORIZATION_TIMEOUT": 0}, ['["AUTHORIZATION_TIMEOUT"] is 0']),
    ({"MAX_CONNECTIONS": "x"}, ["[\"MAX_CONNECTIONS\"] is 'x'"]),
    ({"MAX_CHANNEL_NAME_LENGTH": 201}, ["is 201", "200 characters"]),
    ({"SECRET_FALLBACKS": "x"}, ['["SECRET_FALLBACKS"] must be a list']),
    ({"SECRET_FALLBACKS": [""]}, ['["SECRET_FALLBACKS"] must be a list']),
    ({"REPLAY_CACHE": "x"}, ["[\"REPLAY_CACHE\"] is 'x'", "CACHES"]),
    *(
        ({"ENCRYPTION_MASTER_KEY_BASE64": value}, ["is not 32 bytes in base64", "openssl rand"])
        for value in ("", "x", "AAAA", "A" * 43, "!" * 44, 1, b"A" * 44)
    ),
    ({"ENCRYPTION_MASTER_KEY": b"x" * 32}, ["unknown keys: ENCRYPTION_MASTER_KEY"]),
    ({"WEBHOOKS": {}}, ['["WEBHOOKS"] must be a list']),
    ({"WEBHOOKS": ["x"]}, ['["WEBHOOKS"][0] must be a dictionary']),
    ({"WEBHOOKS": [{"URL": "http://x"}]}, ['["WEBHOOKS"][0]["URL"]', "https://"]),
    ({"WEBHOOKS": [{"URL": "https://x", "EVENTS": ["x"]}]}, ["names 'x'", "channel_occupied"]),
    ({"WEBHOOKS": [{"URL": "https://x", "CHANNEL_PREFIX": 1}]}, ["PREFIX", "must be text"]),
    ({"WEBHOOKS": [{"URL": "https://x", "ALLOW_PRIVATE": 1}]}, ["PRIVATE", "True or False"]),
    *(({name: ""}, [f'[0] has no "{name}"']) for name in ("ID", "KEY", "SECRET")),
    *(({name: value}, [f'["{name}"] is {value!r}', "letters, digits"]) for name, value in (
        ("ID", "a:b"), ("ID", "a/b"), ("KEY", "a/b"), ("KEY", "a&b"))),
    ({"MAX_CHANELS": 1}, ["unknown keys: MAX_CHANELS", "MAX_CHANNELS"]),
    ({"ALLOWED_HOSTS": []}, ["unknown keys: ALLOWED_HOSTS"]),
    *(
        ({"ALLOWED_ORIGINS": value}, ['["ALLOWED_ORIGINS"] must be a list', repr(value)])
        for value in (
            *("https://example.com", {"https://example.com": 1}, [1], ["example.com"], [""]),
            *(["https://example.com/"], ["https://example.com/path"], ["ws://example.com"]),
            *(["https://"], ["null"], ["https://["], ["https://example.com:port"]),
            *(["https://user@example.com"], ["https://example.com?query"]),
        )
    ),
]  # fmt: skip
MISTAKES: list[tuple[Any, list[str]]] = [
    *(([APP | options], ['BROADCASTING["APPS"][0]', *texts]) for options, texts in OPTIONS),
    ([], ['BROADCASTING["APPS"] must be a list', "Leave these out"]),
    (APP, ['BROADCASTING["APPS"] must be a list']),
    (["x"], ['BROADCASTING["APPS"][0] must be a dictionary']),
    ([{}, {}], ['BROADCASTING["APPS"][0] has no "ID"']),
    ([{"KEY": "k"}], ['BROADCASTING["APPS"][0] has no "ID"']),
    ([APP, {"ID": "8", "KEY": "k"}], ['BROADCASTING["APPS"][1] has no "SECRET"']),
    ([APP, APP | {"KEY": "k"}], ["have the same ID, '7'", "give each its own"]),
    ([APP, APP | {"ID": "8"}], ["have the same KEY, 'key'", "give each its own"]),
]


@pytest.mark.parametrize(("apps", "texts"), MISTAKES, ids=lambda value: str(value)[:70])
def test_a_mistake_names_the_setting_and_what_it_should_be(apps: Any, texts: list[str]) -> None:
    """One sentence that can be acted on."""
    with (
        override_settings(BROADCASTING={"APPS": apps}),
        pytest.raises(ImproperlyConfigured) as caught,
    ):
        get_settings()
    for text in texts:
        assert text in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"SECRET": "very-secret", "X": 1},
        {"SECRET": "very-secret", "ID": ""},
        {"SECRET_FALLBACKS": ["very-secret", 1]},
        {"ENCRYPTION_MASTER_KEY_BASE64": "very-secret"},
        {"WEBHOOKS": [{"URL": b"https://very-secret"}]},
    ],
)
def test_a_mistake_does_not_print_secrets(options: dict[str, Any]) -> None:
    """It may end up in a log."""
    with pytest.raises(ImproperlyConfigured) as caught:
        app_of(**options)
    assert "very-secret" not in str(caught.value)
