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
        """It is not a browser. Pages need an entry."""
        assert application().accepts_origin(None)
        assert not application().accepts_origin("http://localhost")

    @pytest.mark.parametrize(
        ("allowed", "origin", "accepted"),
        [
            ("*", "https://anywhere.example", True),
            ("*", "null", True),
            # The default port may be written.
            ("https://example.com", "https://example.com:443", True),
            ("https://example.com:443", "https://example.com", True),
            ("https://example.com", "https://EXAMPLE.com", True),
            ("https://example.com", "HTTPS://example.com", True),
            ("https://example.com", "http://example.com", False),
            ("https://example.com", "https://example.com:8443", False),
            ("https://example.com", "https://sub.example.com", False),
            ("https://example.com", "https://example.com.evil.example", False),
            ("https://example.com", "https://evilexample.com", False),
            ("https://example.com", "https://example.com@evil.example", False),
            ("https://example.com", "https://evil.example/https://example.com", False),
            ("https://example.com", "https://example.com:443@evil.example", False),
            ("https://example.com", "https://evil.example\\.example.com", False),
            ("https://example.com", "https://evil.example#https://example.com", False),
            ("https://example.com", "wss://example.com", False),
            ("https://example.com", "example.com", False),
            ("https://example.com", "//example.com", False),
            ("https://example.com", "null", False),
            ("https://example.com", "", False),
            ("https://example.com", "https://", False),
            ("https://example.com", "https://example.com:port", False),
            ("https://example.com", "https://example.com:99999", False),
            ("https://example.com", "https://example.com:0", False),
            ("https://example.com", "https://[example.com", False),
            ("https://example.com", "file:///example.com", False),
            ("http://localhost:3000", "http://localhost:3000", True),
            ("http://localhost:3000", "http://localhost", False),
            ("http://localhost:3000", "http://localhost:3001", False),
            ("https://*.example.com", "https://a.example.com", True),
            ("https://*.example.com", "https://a.b.example.com", True),
            ("https://*.example.com", "https://example.com", False),
            ("https://*.example.com", "https://evilexample.com", False),
            ("https://*.example.com", "https://a.example.com.evil.example", False),
            ("https://*.example.com", "http://a.example.com", False),
            ("https://*.example.com", "https://a.example.com:8443", False),
            ("http://[2001:DB8::1]:8000", "http://[2001:db8::1]:8000", True),
            ("http://[2001:DB8::1]:8000", "http://[2001:db8::1]:8001", False),
            ("http://[2001:DB8::1]:8000", "http://[2001:db8::2]:8000", False),
        ],
    )
    def test_scheme_host_and_port_must_match(
        self, allowed: str, origin: str, accepted: bool
    ) -> None:
        """A wildcard matches subdomains of any depth, but not the domain itself."""
        assert application(allowed).accepts_origin(origin) is accepted

    @given(st.text(st.characters(codec=None, exclude_categories=())))
    def test_no_origin_raises(self, origin: str) -> None:
        """Anybody may send the header."""
        assert application("https://example.com").accepts_origin(origin) in {True, False}

    @given(ADDRESSES, ADDRESSES)
    def test_nothing_like_an_address_raises(self, origin: str, host: str) -> None:
        """With any ALLOWED_HOSTS."""
        app = application("https://*.example.com", "http://[::1]:8000", hosts=(host,))
        assert app.accepts_origin(origin) in {True, False}

    @given(LABELS)
    def test_a_longer_name_is_refused(self, label: str) -> None:
        """Others may own a name that contains the admitted one."""
        app = application("https://example.com", hosts=("example.org",))
        for name in ("example.com", "example.org"):
            assert app.accepts_origin(f"https://{name}")
            assert not app.accepts_origin(f"https://{name}{label}")
            assert not app.accepts_origin(f"https://{label}{name}")


class TestHosts:
    @pytest.mark.parametrize(
        ("origin", "accepted"),
        [
            ("http://example.com", True),
            ("https://example.com", True),
            ("http://example.com:8000", True),
            ("https://www.example.org", True),
            ("https://example.org", True),
            ("http://[::1]:8000", True),
            ("http://[::1]", True),
            ("http://example.com.evil.example", False),
            ("http://www.example.com", False),
            ("http://evilexample.org", False),
            ("ws://example.com", False),
            ("http://[::2]", False),
            ("null", False),
        ],
    )
    def test_a_host_is_admitted_over_both_schemes_on_any_port(
        self, origin: str, accepted: bool
    ) -> None:
        """In Django's notation: a leading dot matches the domain and its subdomains."""
        app = application(hosts=("Example.com", ".example.org", "[::1]"))
        assert app.accepts_origin(origin) is accepted

    def test_an_asterisk_admits_every_host(self) -> None:
        """But only of pages."""
        assert application(hosts=("*",)).accepts_origin("https://anywhere.example")
        assert not application(hosts=("*",)).accepts_origin("null")


FIRST = Application(id="1", key="a", secret="very-secret")
SECOND = Application(id="a", key="1", secret="y")


def test_an_application_is_found_by_key_or_by_id() -> None:
    """Exactly."""
    apps = (FIRST, SECOND)
    assert find_application(apps, key="a") is find_application(apps, app_id="1") is FIRST
    assert find_application(apps, key="1") is find_application(apps, app_id="a") is SECOND
    for value in ("", "b", "A", " a", "None"):
        assert find_application((FIRST,), key=value) is None
        assert find_application((FIRST,), app_id=value) is None
    assert find_application((FIRST,)) is None


def test_the_secret_is_not_shown() -> None:
    """In tracebacks and logs."""
    assert "very-secret" not in repr(FIRST)
    assert "key" in repr(FIRST)
