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
        ("allowed", "accepted", "refused"),
        [
            ("*", "https://anywhere.example null", ""),
            (
                "https://example.com",
                "https://example.com https://example.com:443 https://EXAMPLE.com HTTPS://example.com",
                "http://example.com https://example.com:8443 https://sub.example.com "
                "https://example.com.evil.example https://evilexample.com "
                "https://example.com@evil.example https://evil.example/https://example.com "
                "https://example.com:443@evil.example https://evil.example\\.example.com "
                "https://evil.example#https://example.com wss://example.com example.com "
                "//example.com null https:// https://example.com:port https://example.com:99999 "
                "https://example.com:0 https://[example.com file:///example.com",
            ),
            ("https://example.com:443", "https://example.com", "http://example.com:443"),
            (
                "http://localhost:3000",
                "http://localhost:3000",
                "http://localhost http://localhost:3001",
            ),
            (
                "https://*.example.com",
                "https://a.example.com https://a.b.example.com",
                "https://example.com https://evilexample.com http://a.example.com "
                "https://a.example.com.evil.example https://a.example.com:8443",
            ),
            (
                "http://[2001:DB8::1]:8000",
                "http://[2001:db8::1]:8000",
                "http://[2001:db8::1]:8001 http://[2001:db8::2]:8000",
            ),
        ],
    )
    def test_scheme_host_and_port_must_match(
        self, allowed: str, accepted: str, refused: str
    ) -> None:
        """A wildcard matches subdomains of any depth, but not the domain itself."""
        app = application(allowed)
        assert all(app.accepts_origin(origin) for origin in accepted.split())
        assert not any(app.accepts_origin(origin) for origin in refused.split())

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


def test_a_host_is_admitted_over_both_schemes_on_any_port() -> None:
    """In Django's notation: a leading dot matches the domain and its subdomains."""
    app = application(hosts=("Example.com", ".example.org", "[::1]"))
    for origin in (
        *("http://example.com", "https://example.com", "http://example.com:8000"),
        *("https://www.example.org", "https://example.org", "http://[::1]:8000", "http://[::1]"),
    ):
        assert app.accepts_origin(origin)
    for origin in (
        *("http://example.com.evil.example", "http://www.example.com", "http://evilexample.org"),
        *("ws://example.com", "http://[::2]", "null"),
    ):
        assert not app.accepts_origin(origin)
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
