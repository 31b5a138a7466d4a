"""What browsers find at the address of the site: the API, a socket, authorization, TLS."""

from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.urls import NoReverseMatch, reverse

from ..applications import Application
from ..conf import Settings
from ..drivers.diagnosis import Diagnosis
from ..exceptions import BroadcastError
from ..management.client import Client


def diagnose_server(app: Application, url: str) -> list[Diagnosis]:
    """Send a request to the server at `url`, which it answers only if the secret is right."""
    with Client(app, url) as server:
        return server.diagnose()


def diagnose_socket(settings: Settings, app: Application, url: str, origin: str) -> list[Diagnosis]:
    """Open a socket as a page of `origin` would."""
    subject = "Socket"
    try:
        with Client(app, url) as server, server.open_socket(origin):
            return [Diagnosis("ok", subject, f"A page of {origin} can open one to {url}.")]
    except BroadcastError as exc:
        text = f"A page of {origin} cannot open one to {url}: {exc}."
        return [Diagnosis("error", subject, text, _fix_of_socket(str(exc), settings, url))]


def diagnose_authorization(app: Application, url: str) -> list[Diagnosis]:
    """Ask to join a channel without a session, and be refused."""
    subject = "Authorization"
    try:
        # In a process without pages, such as a worker, take the address that Echo does.
        has_pages = hasattr(django_settings, "ROOT_URLCONF")
        path = reverse("broadcasting:auth") if has_pages else "/broadcasting/auth"
    except NoReverseMatch:
        fix = 'Add path("", include("broadcasting.urls")) to the urlpatterns of ROOT_URLCONF.'
        return [Diagnosis("error", subject, "The project has no address for it.", fix)]
    try:
        with Client(app, url) as server:
            status = server.post(path)
    except BroadcastError as exc:
        fix = "Look at the server's log, and at the proxy in front of it."
        return [Diagnosis("error", subject, f"{url}{path} does not answer. {exc}", fix)]
    if status in (400, 403):
        return [Diagnosis("ok", subject, f"{url}{path} refuses strangers.")]
    text = f"{url}{path} answers {status} to a stranger, who should be refused."
    fix = "Let the proxy pass this address to Django, and include broadcasting.urls at the root."
    return [Diagnosis("error", subject, text, fix)]


def diagnose_proxy(settings: Settings, url: str) -> list[Diagnosis]:
    """Look at how Django learns from a proxy that a request was encrypted."""
    if urlsplit(url).scheme != "https":
        return []
    if settings.proxy_header is not None:
        name, value = settings.proxy_header
        text = f"Requests with {name}: {value} count as encrypted. Only the proxy may set it."
        return [Diagnosis("ok", "Proxy", text)]
    return [
        Diagnosis(
            "warning",
            "Proxy",
            "SECURE_PROXY_SSL_HEADER is not set: behind a proxy that speaks TLS, Django takes "
            "requests for unencrypted.",
            'Set SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") and have the '
            "proxy set that header. If the server itself speaks TLS, nothing is wrong.",
        )
    ]


def origin_of(url: str) -> str:
    """Return the origin of the pages at `url`."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def likely_origin(app: Application, url: str) -> str:
    """Return the origin of the site's pages by its settings, else the server's own."""
    for origin in app.allowed_origins:
        if "*" not in origin:
            return origin
    own = origin_of(url)
    if app.accepts_origin(own):
        return own
    hosts = [host for host in app.allowed_hosts if host[:1] not in {"*", "."}]
    return f"{urlsplit(url).scheme}://{hosts[0]}" if hosts else own


def _fix_of_socket(reason: str, settings: Settings, url: str) -> str:
    if "4009" in reason:
        return "Add the origin to ALLOWED_ORIGINS of the application, or its host to ALLOWED_HOSTS."
    if "4001" in reason:
        return "Compare KEY of the application with that of the server."
    if "4000" in reason:
        return "Have the proxy set X-Forwarded-Proto, and set SECURE_PROXY_SSL_HEADER."
    if "HTTP" in reason:
        where = f"/{settings.server.path}/app/" if settings.server.path else "/app/"
        return (
            f"Route the WebSockets of ASGI_APPLICATION to broadcasting.routing, and have the "
            f"proxy pass Upgrade and Connection for {where}. See docs/deployment.md."
        )
    return "Start the server, for example with manage.py runserver, or give its address: --url."
