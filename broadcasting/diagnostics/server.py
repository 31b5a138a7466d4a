"""What ``broadcast_doctor`` looks at; each function returns what it found."""

import http.client
from collections.abc import Sequence
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import CheckMessage
from django.urls import NoReverseMatch, reverse

from ..applications import Application
from ..conf import Settings
from ..drivers.diagnosis import Finding
from ..drivers.pusher import ServingProcess
from ..drivers.registry import broadcasters
from ..exceptions import BroadcastError
from ..management.client import TIMEOUT, open_socket
from ..server.admission import raise_file_limit, sockets_that_fit

# Below this a machine serves fewer sockets than one busy site has.
FEW_SOCKETS = 4096


def examine_settings(settings: Settings, include_deployment_checks: bool) -> list[Finding]:
    """Run the system checks of broadcasting."""
    messages = checks.run_checks(
        tags=["broadcasting"], include_deployment_checks=include_deployment_checks
    )
    found = [_of_check(message) for message in messages if not message.is_silenced()]
    count = len(settings.apps)
    text = f"DEFAULT is {settings.default!r}; {count} application{'' if count == 1 else 's'}."
    if any(finding.level == "error" for finding in found):
        return found
    return [Finding("ok", "Settings", text), *found]


def examine_connections(settings: Settings) -> list[Finding]:
    """Look at what the connections in use lead to."""
    used = dict.fromkeys([settings.default, settings.server.connection or settings.default])
    return [finding for alias in used for finding in broadcasters[alias].examine()]


def examine_server(app: Application, url: str) -> list[Finding]:
    """Ask the server at `url` something that only those are told who know the secret."""
    server = ServingProcess(app=app, first_app_id=app.id, url=url)
    try:
        return server.examine()
    finally:
        server.close()


def examine_socket(settings: Settings, app: Application, url: str, origin: str) -> list[Finding]:
    """Open a socket as a page on `origin` would."""
    subject = "Socket"
    try:
        with open_socket(url, settings.server.path, app, origin):
            return [Finding("ok", subject, f"A page on {origin} may open one to {url}.")]
    except BroadcastError as exc:
        text = f"A page on {origin} cannot open one to {url}: {exc}."
        return [Finding("error", subject, text, _socket_fix(str(exc), settings, url))]


def examine_auth_endpoint(url: str) -> list[Finding]:
    """Ask for a channel without a session, and be refused."""
    subject = "Authorization"
    try:
        # A process without pages, such as a worker's, asks where Echo would.
        has_pages = hasattr(django_settings, "ROOT_URLCONF")
        path = reverse("broadcasting:auth") if has_pages else "/broadcasting/auth"
    except NoReverseMatch:
        fix = 'Add path("", include("broadcasting.urls")) to the urlpatterns of ROOT_URLCONF.'
        return [Finding("error", subject, "The project has no address for it.", fix)]
    try:
        status = _post(url, path)
    except (OSError, http.client.HTTPException) as exc:
        fix = "Look at the server's log, and at the proxy before it."
        return [Finding("error", subject, f"{url}{path} does not answer: {exc}.", fix)]
    if status in (400, 403):
        return [Finding("ok", subject, f"{url}{path} refuses strangers.")]
    text = f"{url}{path} answers {status} to a stranger, who should be refused."
    fix = "Let the proxy pass this address to Django, and include broadcasting.urls at the root."
    return [Finding("error", subject, text, fix)]


def examine_proxy(settings: Settings, url: str) -> list[Finding]:
    """Say what a proxy that speaks TLS must tell."""
    if urlsplit(url).scheme != "https":
        return []
    if settings.proxy_header is not None:
        name, value = settings.proxy_header
        text = f"Requests with {name}: {value} count as encrypted. Only the proxy may set it."
        return [Finding("ok", "Proxy", text)]
    return [
        Finding(
            "warning",
            "Proxy",
            "SECURE_PROXY_SSL_HEADER is not set: behind a proxy that speaks TLS, Django takes "
            "requests for unencrypted.",
            'Set SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") and have the '
            "proxy set that header. Where the server itself speaks TLS, nothing is wrong.",
        )
    ]


def examine_files(settings: Settings) -> list[Finding]:
    """Compare the limit on open files with the sockets that are wanted."""
    files = raise_file_limit()
    if files is None:
        return []
    subject, fit = "Open files", sockets_that_fit(files)
    text = f"A process of this user may open {files}, which is room for {fit} sockets."
    wanted = settings.server.max_connections
    fix = "Raise it: LimitNOFILE= of the systemd unit, or ulimit -Hn. See docs/capacity.md."
    if wanted is not None and wanted > fit:
        text += f' SERVER["MAX_CONNECTIONS"] is {wanted}.'
        return [Finding("error", subject, text, fix)]
    return [Finding("ok" if fit >= FEW_SOCKETS else "warning", subject, text, fix)]


def origin_of(url: str) -> str:
    """Return the origin of the pages at `url`."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def likely_origin(app: Application, url: str) -> str:
    """Return where the site's pages are, as its settings have it; else the server's own."""
    for origin in app.allowed_origins:
        if "*" not in origin:
            return origin
    own = origin_of(url)
    if app.accepts_origin(own):
        return own
    scheme = urlsplit(url).scheme
    hosts: Sequence[str] = [host for host in app.allowed_hosts if host[:1] not in {"*", "."}]
    return f"{scheme}://{hosts[0]}" if hosts else own


def _of_check(message: CheckMessage) -> Finding:
    subject, hint = str(message.id), message.hint or ""
    if message.level < checks.WARNING:  # Nothing is wrong, and a fix would not be printed.
        return Finding("ok", subject, f"{message.msg} {hint}".rstrip())
    return Finding(
        "error" if message.level >= checks.ERROR else "warning", subject, message.msg, hint
    )


def _socket_fix(reason: str, settings: Settings, url: str) -> str:
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


def _post(url: str, path: str) -> int:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=TIMEOUT)
    try:
        connection.request("POST", path, body=b"", headers={"Content-Length": "0"})
        return connection.getresponse().status
    finally:
        connection.close()
