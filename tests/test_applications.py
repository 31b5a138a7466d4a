"""Applications: which pages they admit, and how they are found."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcasting.applications import Application, find_application

# Text made of these comes nearer to an address than text of random letters.
PIECES = st.sampled_from(
    [
        *("https", "http", "://", ":", "/", "//", "[", "]", "@", "%", "*", ".", "?", "#", "\\"),
        *("::1", "v1.x", "%25", "443", "99999", "-1", "0", "example.com", "\t", "\n", "\0"),
        *("℀", "ß", "。", "휙"),
    ]
)
ADDRESSES = st.lists(PIECES).map("".join) | st.text().map("https://{}".format)
LABELS = st.text(string.ascii_lowercase + string.digits + "-._", min_size=1)


def application(*origins: str, hosts: tuple[str, ...] = ()) -> Application:
    """Return an application with these allowed origins and hosts."""
    return Application(
        id="1", key="key", secret="secret", allowed_origins=origins, allowed_hosts=hosts
    )


class TestOrigins:
    def test_a_client_without_an_origin_is_admitted(self) -> None:
        """It is no browser, and there is no cookie to misuse."""
        assert application().accepts_origin(None)

    def test_an_asterisk_admits_every_page(self) -> None:
        """Even one whose origin is opaque."""
        assert application("*").accepts_origin("https://anywhere.example")
        assert application("*").accepts_origin("null")

    @pytest.mark.parametrize(
        "origin",
        [
            "https://example.com",
            "https://example.com:443",
            "https://EXAMPLE.com",
            "HTTPS://example.com",
        ],
    )
    def test_scheme_host_and_port_must_be_those(self, origin: str) -> None:
        """The default port may be written, and case does not matter."""
        assert application("https://example.com").accepts_origin(origin)
        assert application("https://example.com:443").accepts_origin(origin)

    @pytest.mark.parametrize(
        "origin",
        [
            "http://example.com",
            "https://example.com:8443",
            "https://sub.example.com",
            "https://example.com.evil.example",
            "https://evilexample.com",
            "https://example.com@evil.example",
            "https://evil.example/https://example.com",
            "wss://example.com",
            "example.com",
            "//example.com",
            "null",
            "",
            "https://",
            "https://example.com:port",
            "https://example.com:99999",
            "https://example.com:0",
            "https://example.com:443@evil.example",
            "https://evil.example\\.example.com",
            "https://evil.example#https://example.com",
            "https://[example.com",
            "file:///example.com",
        ],
    )
    def test_anything_else_is_refused(self, origin: str) -> None:
        """Another scheme, port or host, a name that only looks alike, and no origin at all."""
        assert not application("https://example.com").accepts_origin(origin)

    def test_a_port_that_is_written_must_be_met(self) -> None:
        """Development servers tell their pages apart by it."""
        app = application("http://localhost:3000")
        assert app.accepts_origin("http://localhost:3000")
        assert not app.accepts_origin("http://localhost")
        assert not app.accepts_origin("http://localhost:3001")

    @pytest.mark.parametrize(
        ("origin", "accepted"),
        [
            ("https://a.example.com", True),
            ("https://a.b.example.com", True),
            ("https://example.com", False),
            ("https://evilexample.com", False),
            ("https://a.example.com.evil.example", False),
            ("http://a.example.com", False),
            ("https://a.example.com:8443", False),
        ],
    )
    def test_a_wildcard_stands_for_subdomains(self, origin: str, accepted: bool) -> None:
        """Of any depth, on the same scheme and port, and not for the domain itself."""
        assert application("https://*.example.com").accepts_origin(origin) is accepted

    def test_nothing_is_admitted_by_default(self) -> None:
        """No origins and no hosts: only clients that are no browsers."""
        assert not application().accepts_origin("http://localhost")

    @given(st.text(st.characters(codec=None, exclude_categories=())))
    def test_no_origin_raises(self, origin: str) -> None:
        """The header comes from anybody."""
        assert application("https://example.com").accepts_origin(origin) in {True, False}

    @given(ADDRESSES, ADDRESSES)
    def test_nothing_like_an_address_raises(self, origin: str, host: str) -> None:
        """Brackets, ports and users in the wrong places, against any ALLOWED_HOSTS."""
        app = application("https://*.example.com", "http://[::1]:8000", hosts=(host,))
        assert app.accepts_origin(origin) in {True, False}

    @given(LABELS)
    def test_nothing_may_be_added_to_a_name(self, label: str) -> None:
        """Whoever owns a name that merely contains the admitted one stays outside."""
        app = application("https://example.com", hosts=("example.org",))
        for name in ("example.com", "example.org"):
            assert app.accepts_origin(f"https://{name}")
            assert not app.accepts_origin(f"https://{name}{label}")
            assert not app.accepts_origin(f"https://{label}{name}")

    def test_an_ipv6_address_is_met_with_its_port(self) -> None:
        """In brackets on both sides, whatever the case of its letters."""
        app = application("http://[2001:DB8::1]:8000")
        assert app.accepts_origin("http://[2001:db8::1]:8000")
        assert not app.accepts_origin("http://[2001:db8::1]:8001")
        assert not app.accepts_origin("http://[2001:db8::2]:8000")


class TestHosts:
    @pytest.mark.parametrize(
        "origin",
        [
            *("http://example.com", "https://example.com", "http://example.com:8000"),
            *("https://www.example.org", "https://example.org"),
            *("http://[::1]:8000", "http://[::1]"),
        ],
    )
    def test_a_host_is_admitted_over_both_schemes_on_any_port(self, origin: str) -> None:
        """In Django's notation: a leading dot takes the domain and its subdomains."""
        app = application(hosts=("Example.com", ".example.org", "[::1]"))
        assert app.accepts_origin(origin)

    @pytest.mark.parametrize(
        "origin",
        [
            *("http://example.com.evil.example", "http://www.example.com"),
            *("http://evilexample.org", "ws://example.com", "http://[::2]", "null"),
        ],
    )
    def test_other_hosts_are_not(self, origin: str) -> None:
        """Nor other schemes."""
        app = application(hosts=("example.com", ".example.org", "[::1]"))
        assert not app.accepts_origin(origin)

    def test_an_asterisk_admits_every_host(self) -> None:
        """As in ALLOWED_HOSTS; yet only web pages."""
        assert application(hosts=("*",)).accepts_origin("https://anywhere.example")
        assert not application(hosts=("*",)).accepts_origin("null")


class TestFinding:
    FIRST = Application(id="1", key="a", secret="x")
    SECOND = Application(id="a", key="1", secret="y")

    def test_by_key_or_by_id(self) -> None:
        """The two are never mixed up."""
        apps = (self.FIRST, self.SECOND)
        assert find_application(apps, key="a") is self.FIRST
        assert find_application(apps, key="1") is self.SECOND
        assert find_application(apps, app_id="1") is self.FIRST
        assert find_application(apps, app_id="a") is self.SECOND

    @pytest.mark.parametrize("value", ["", "b", "A", " a", "None"])
    def test_nothing_else_is_found(self, value: str) -> None:
        """Names are compared exactly."""
        assert find_application((self.FIRST,), key=value) is None
        assert find_application((self.FIRST,), app_id=value) is None
        assert find_application((), key=value) is None
        assert find_application((self.FIRST,)) is None


def test_the_secret_is_not_shown() -> None:
    """Neither in a traceback nor in a log."""
    app = Application(id="1", key="key", secret="very-secret")
    assert "very-secret" not in repr(app)
    assert "very-secret" not in str(app)
    assert "key" in repr(app)
