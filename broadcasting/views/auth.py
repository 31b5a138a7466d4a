"""
``POST /broadcasting/auth`` and ``POST /broadcasting/user-auth``.

A client sends the id of its socket and the name of a channel. The answer is a signature
that lets this socket join this channel, or sign in, and nothing else (Pusher,
"Authorizing users", "Authenticating users").
"""

import base64
import logging
import re
from collections.abc import Callable, Mapping
from functools import wraps

from django.conf import settings
from django.core.exceptions import (
    BadRequest,
    ImproperlyConfigured,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse, QueryDict
from django.http.multipartparser import MultiPartParserError
from django.views.decorators.csrf import csrf_exempt

from ..applications import Application, find_application
from ..authorization.calling import AuthorizerError, Denied, User
from ..authorization.rules import authenticate, authorize, sign_in
from ..conf import get_settings
from ..encryption import shared_secret
from ..events.payload import encode_payload
from ..exceptions import BroadcastError
from ..guests import forget_guest, remember_guest
from ..protocol.errors import PusherError
from ..protocol.members import parse_member, parse_user
from ..protocol.messages import decode, encode
from ..protocol.names import is_channel_name, is_encrypted, is_presence, is_socket_id
from ..protocol.signatures import sign_channel, sign_user
from .csrf import ForgeryCheck

MAX_CHANNELS = 100  # In one request.
MAX_BODY = 65_536  # Bytes: room for so many names, written as a form.
MAX_LOGGED = 200  # Characters.

logger = logging.getLogger("broadcasting.auth")

Fields = Mapping[str, object]
Answer = dict[str, object]

_LISTED = re.compile(r"channel_name\[[0-9]*\]", re.ASCII)


class BadInput(Exception):
    """Raised for a request that is answered with `status` and an error that anybody may read."""

    def __init__(self, error: str, status: int = 400) -> None:
        super().__init__(error)
        self.status = status


def _endpoint(
    view: Callable[[HttpRequest, Fields, Application], HttpResponse],
) -> Callable[..., HttpResponse]:
    """
    Return a Django view around `view`, which gets the fields of requests that were not forged.

    The application is the first one, unless a route passes the id of another.
    """

    @csrf_exempt  # Of the project's middleware. ForgeryCheck checks by itself.
    @wraps(view)
    def endpoint(request: HttpRequest, app_id: str | None = None) -> HttpResponse:
        check = ForgeryCheck()
        try:
            if request.method != "POST":
                response: HttpResponse = HttpResponseNotAllowed(["POST"])
            else:
                fields = _fields(request)
                if check.refuses(request):
                    raise Denied(check.explanation)
                response = view(request, fields, _application(app_id))
        except BadInput as bad:
            response = JsonResponse({"error": str(bad)}, status=bad.status)
        except Denied as denied:
            response = JsonResponse(_denial(denied, f"{request.method} {request.path}"), status=403)
        if check.is_foreign(request):
            # A form of another site comes without the guest's cookie, and would replace it.
            forget_guest(request)
        remember_guest(request, response)
        check.process_response(request, response)
        response["Cache-Control"] = "no-store"
        return response

    return endpoint


@_endpoint
def auth(request: HttpRequest, fields: Fields, app: Application) -> HttpResponse:
    """
    Answer whether a socket may join a channel, or each of a list of channels.

    A list is answered with 200 and an object. Under each name, it holds the `status`
    and the `data` or the `error` that the name alone would be answered with.
    """
    socket_id, names = _socket_id(fields), fields.get("channel_name")
    if not isinstance(names, list):
        name = _channel_name(names)
        status, answer = _join(request, app, authenticate(request), socket_id, name)
        return JsonResponse(answer, status=status)
    if not 1 <= len(names) <= MAX_CHANNELS or not all(isinstance(name, str) for name in names):
        raise BadInput(f"channel_name must be a name or a list of up to {MAX_CHANNELS} names")
    user = authenticate(request)
    return JsonResponse({name: _entry(request, app, user, socket_id, name) for name in names})


@_endpoint
def user_auth(request: HttpRequest, fields: Fields, app: Application) -> HttpResponse:
    """Answer as whom a socket may sign in."""
    socket_id = _socket_id(fields)
    user = authenticate(request)
    try:
        user_data = _user_data(request, user, app)
    except Denied as denied:
        return JsonResponse(_denial(denied, f"{_who(user)} to sign in"), status=403)
    return JsonResponse({"auth": sign_user(app, socket_id, user_data), "user_data": user_data})


def _entry(
    request: HttpRequest, app: Application, user: User | None, socket_id: str, name: str
) -> Answer:
    """Return the answer for one name of a list."""
    try:
        status, answer = _join(request, app, user, socket_id, _channel_name(name))
    except BadInput as bad:
        status, answer = bad.status, {"error": str(bad)}
    except Exception:  # A mistake in one rule must not keep a page out of all channels.
        logger.exception("The rule for %s failed", _printable(name))
        status, answer = 500, {"error": "Internal Server Error"}
    return {"status": status, "data": answer} if status == 200 else {"status": status, **answer}


def _join(
    request: HttpRequest, app: Application, user: User | None, socket_id: str, name: str
) -> tuple[int, Answer]:
    """Return 200 and the signature, with what belongs to it; or 403 and a refusal."""
    try:
        if is_presence(name):
            data = _channel_data(request, user, name, app)
            signature = sign_channel(app, socket_id, name, data)
            return 200, {"auth": signature, "channel_data": data}
        authorize(request, user, name)
        answer: Answer = {"auth": sign_channel(app, socket_id, name)}
        if is_encrypted(name):
            answer["shared_secret"] = _shared_secret(app, name)
    except Denied as denied:
        return 403, _denial(denied, f"{_who(user)} on {name}")
    return 200, answer


def _shared_secret(app: Application, name: str) -> str:
    try:
        return base64.b64encode(shared_secret(app, name)).decode("ascii")
    except ImproperlyConfigured as exc:
        raise AuthorizerError(str(exc)) from exc


# What is signed about a user: JSON that the server parses with the same functions.


def _channel_data(request: HttpRequest, user: User | None, name: str, app: Application) -> str:
    grant = authorize(request, user, name)
    data = _object({"user_id": encode(grant.user_id)} | _info(grant.user_info, grant.handler))
    try:
        parse_member(data, app.max_user_info_size)
    except PusherError as exc:
        raise AuthorizerError(
            f"{grant.handler} returned for {grant.user_id}: {exc.message}"
        ) from exc
    return data


def _user_data(request: HttpRequest, user: User | None, app: Application) -> str:
    found = sign_in(request, user)
    members = {"id": encode(found.id)} | _info(found.user_info, found.handler)
    if found.watchlist is not None:
        members["watchlist"] = encode(found.watchlist)
    data = _object(members)
    try:
        parse_user(data, app.max_user_info_size)
    except PusherError as exc:
        raise AuthorizerError(f"{found.handler} returned for {found.id}: {exc.message}") from exc
    return data


def _info(user_info: Mapping[str, object] | None, handler: str) -> dict[str, str]:
    if user_info is None:
        return {}
    try:
        return {"user_info": encode_payload(user_info, f"{handler}()")}
    except (BroadcastError, ImproperlyConfigured) as exc:
        raise AuthorizerError(str(exc)) from exc


def _object(members: Mapping[str, str]) -> str:
    """Return a JSON object of values that are JSON already."""
    return "{" + ",".join(f"{encode(name)}:{value}" for name, value in members.items()) + "}"


# The request


def _fields(request: HttpRequest) -> Fields:
    """Return the fields of a form or of a JSON object. Raise `BadInput`."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdigit()):
        raise BadInput("Content-Length is not a number")
    try:
        # Compared as text first: a number of thousands of digits takes long to parse.
        if len(length) > 10 or int(length) > MAX_BODY:
            raise RequestDataTooBig
        if request.content_type == "multipart/form-data":
            return _form(request.POST)
        if len(request.body) > MAX_BODY:  # There may be no Content-Length.
            raise RequestDataTooBig
        if request.content_type == "application/x-www-form-urlencoded":
            return _form(request.POST)
        value = decode(request.body)
    except RequestDataTooBig:
        raise BadInput("Payload too large", 413) from None
    except (BadRequest, SuspiciousOperation, MultiPartParserError, OSError, LookupError) as exc:
        # Raised by Django, and by a codec that a client names.
        raise BadInput("The body cannot be read") from exc
    except ValueError:
        raise BadInput("The body is neither a form nor JSON") from None
    if not isinstance(value, dict):
        raise BadInput("The body is not a JSON object")
    return value


def _form(form: QueryDict) -> Fields:
    """Return the fields of a form, ``channel_name[]`` and ``channel_name[0]`` as a list."""
    listed = [name for key in form if _LISTED.fullmatch(key) for name in form.getlist(key)]
    return {**form.dict(), **({"channel_name": listed} if listed else {})}


def _socket_id(fields: Fields) -> str:
    socket_id = fields.get("socket_id")
    if not is_socket_id(socket_id):
        raise BadInput("socket_id is not valid")
    return socket_id


def _channel_name(name: object) -> str:
    if not is_channel_name(name):
        raise BadInput("channel_name is not valid")
    return name


def _application(app_id: str | None) -> Application:
    apps = get_settings().apps
    app = apps[0] if app_id is None else find_application(apps, app_id=app_id)
    if app is None:
        raise ImproperlyConfigured(
            f"A route of an auth endpoint names the application {app_id!r}, which is not the ID "
            f'of any in BROADCASTING["APPS"].'
        )
    if not app.enabled:
        raise Denied(f'application {app.id!r} is not "ENABLED"')
    return app


# A refusal: the reason goes to the log, and to the client with DEBUG only.


def _denial(denied: Denied, what: str) -> Answer:
    level = logging.ERROR if isinstance(denied, AuthorizerError) else logging.WARNING
    logger.log(level, "Refused %s: %s", _printable(what), _printable(str(denied)))
    reason = {"reason": str(denied)} if settings.DEBUG else {}
    return {"error": "Forbidden", **reason}


def _who(user: User | None) -> str:
    return "a visitor" if user is None else f"user {user.pk}"


def _printable(text: str) -> str:
    """Return `text` for one line of the log, with characters that are not printable escaped."""
    cut = text if len(text) <= MAX_LOGGED else f"{text[: MAX_LOGGED - 1]}\N{HORIZONTAL ELLIPSIS}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
