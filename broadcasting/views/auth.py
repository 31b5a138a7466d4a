"""
``POST /broadcasting/auth`` and ``POST /broadcasting/user-auth``.

A client sends the id of its socket and the name of a channel; a signature is answered
that lets this socket join this channel, or sign in, and nothing else (Pusher,
"Authorizing users", "Authenticating users").
"""

import base64
import logging
import re
from collections.abc import Callable, Mapping
from functools import wraps
from http import HTTPStatus
from typing import TypeAlias

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
from ..authorization.calling import Denied, Mistaken, User
from ..authorization.rules import Grant, SignIn, authenticate, authorize, sign_in
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

Fields: TypeAlias = Mapping[str, object]
Answer: TypeAlias = dict[str, object]

_LISTED = re.compile(r"channel_name\[[0-9]*\]", re.ASCII)


class BadInput(Exception):
    """A request is answered with `status` and an error that anybody may read."""

    def __init__(self, status: HTTPStatus, error: str) -> None:
        super().__init__(error)
        self.status = status


def _endpoint(
    view: Callable[[HttpRequest, Fields, Application], HttpResponse],
) -> Callable[..., HttpResponse]:
    """
    Make a view of what answers the fields of a request that was not forged.

    The application is the first one, unless a route passes the id of another.
    """

    @csrf_exempt  # Of the project's middleware. ForgeryCheck looks itself.
    @wraps(view)
    def endpoint(request: HttpRequest, app_id: str | None = None) -> HttpResponse:
        check = ForgeryCheck()
        try:
            response = _checked_answer(request, check, app_id)
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

    def _checked_answer(
        request: HttpRequest, check: ForgeryCheck, app_id: str | None
    ) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        fields = _fields(request)
        if check.refuses(request):
            raise Denied(check.explanation)
        return view(request, fields, _application(app_id))

    return endpoint


@_endpoint
def auth(request: HttpRequest, fields: Fields, app: Application) -> HttpResponse:
    """
    Answer whether a socket may join a channel, or each of a list of channels.

    A list is answered with 200, and an object that holds, under each name, the `status`
    and the `data` or the `error` that the name alone would have been answered with.
    """
    socket_id, names = _socket_id(fields), fields.get("channel_name")
    if not isinstance(names, list):
        name = _channel_name(names)
        user = authenticate(request)
        try:
            return JsonResponse(_join(request, app, user, socket_id, name))
        except Denied as denied:
            return JsonResponse(_denial(denied, f"{_who(user)} on {name}"), status=403)
    if not 1 <= len(names) <= MAX_CHANNELS or not all(isinstance(name, str) for name in names):
        raise BadInput(
            HTTPStatus.BAD_REQUEST, f"channel_name must be a name or a list of up to {MAX_CHANNELS}"
        )
    user = authenticate(request)
    return JsonResponse({name: _entry(request, app, user, socket_id, name) for name in names})


@_endpoint
def user_auth(request: HttpRequest, fields: Fields, app: Application) -> HttpResponse:
    """Answer as whom a socket may sign in."""
    socket_id = _socket_id(fields)
    user = authenticate(request)
    try:
        user_data = _user_data(sign_in(request, user), app)
    except Denied as denied:
        return JsonResponse(_denial(denied, f"{_who(user)} to sign in"), status=403)
    return JsonResponse({"auth": sign_user(app, socket_id, user_data), "user_data": user_data})


def _entry(
    request: HttpRequest, app: Application, user: User | None, socket_id: str, name: str
) -> Answer:
    """Return what a list is answered with for one of its names."""
    try:
        data = _join(request, app, user, socket_id, _channel_name(name))
    except BadInput as bad:
        return {"status": bad.status, "error": str(bad)}
    except Denied as denied:
        return {"status": 403, **_denial(denied, f"{_who(user)} on {name}")}
    except Exception:  # What is wrong with one channel is no reason to keep a page out of all.
        logger.exception("The rule for %s failed", _printable(name))
        return {"status": 500, "error": "Internal Server Error"}
    return {"status": 200, "data": data}


def _join(
    request: HttpRequest, app: Application, user: User | None, socket_id: str, name: str
) -> Answer:
    """Return the signature, and what belongs to it. Raise `Denied` if there is none."""
    grant = authorize(request, user, name)
    if is_presence(name):
        channel_data = _channel_data(grant, app)
        signature = sign_channel(app, socket_id, name, channel_data)
        return {"auth": signature, "channel_data": channel_data}
    answer: Answer = {"auth": sign_channel(app, socket_id, name)}
    if is_encrypted(name):
        try:
            answer["shared_secret"] = base64.b64encode(shared_secret(app, name)).decode("ascii")
        except ImproperlyConfigured as exc:
            raise Mistaken(str(exc)) from exc
    return answer


# What is signed about somebody: JSON that the server will parse with the same functions.


def _channel_data(grant: Grant, app: Application) -> str:
    members = {"user_id": encode(grant.user_id)} | _info(grant.user_info, grant.handler)
    channel_data = _object(members)
    try:
        parse_member(channel_data, app.max_user_info_size)
    except PusherError as exc:
        raise Mistaken(f"what {grant.handler} says of {grant.user_id}: {exc.message}") from exc
    return channel_data


def _user_data(found: SignIn, app: Application) -> str:
    members = {"id": encode(found.id)} | _info(found.user_info, found.handler)
    if found.watchlist is not None:
        members["watchlist"] = encode(found.watchlist)
    user_data = _object(members)
    try:
        parse_user(user_data, app.max_user_info_size)
    except PusherError as exc:
        raise Mistaken(f"what {found.handler} says of {found.id}: {exc.message}") from exc
    return user_data


def _info(user_info: Mapping[str, object] | None, handler: str) -> dict[str, str]:
    if user_info is None:
        return {}
    try:
        return {"user_info": encode_payload(user_info, f"{handler}()")}
    except (BroadcastError, ImproperlyConfigured) as exc:
        raise Mistaken(str(exc)) from exc


def _object(members: Mapping[str, str]) -> str:
    """Return a JSON object of values that are JSON already."""
    return "{" + ",".join(f"{encode(name)}:{value}" for name, value in members.items()) + "}"


# What was asked.


def _fields(request: HttpRequest) -> Fields:
    """Return the fields of a form or of a JSON object. Raise `BadInput`."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdigit()):
        raise BadInput(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
    try:
        # Compared as text first: a number of thousands of digits is not even parsed.
        if len(length) > 10 or int(length) > MAX_BODY:
            raise RequestDataTooBig
        if request.content_type == "multipart/form-data":
            return _form(request.POST)
        if len(request.body) > MAX_BODY:  # Where no length was said.
            raise RequestDataTooBig
        if request.content_type == "application/x-www-form-urlencoded":
            return _form(request.POST)
        value = decode(request.body)
    except RequestDataTooBig:
        raise BadInput(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Payload too large") from None
    except (BadRequest, SuspiciousOperation, MultiPartParserError, OSError, LookupError) as exc:
        # Django's own words, and those of a codec that a client names.
        raise BadInput(HTTPStatus.BAD_REQUEST, "The body cannot be read") from exc
    except ValueError:
        raise BadInput(HTTPStatus.BAD_REQUEST, "The body is neither a form nor JSON") from None
    if not isinstance(value, dict):
        raise BadInput(HTTPStatus.BAD_REQUEST, "The body is not a JSON object")
    return value


def _form(form: QueryDict) -> Fields:
    """Return the fields of a form, ``channel_name[]`` and ``channel_name[0]`` as a list."""
    listed = [name for key in form if _LISTED.fullmatch(key) for name in form.getlist(key)]
    return {**form.dict(), **({"channel_name": listed} if listed else {})}


def _socket_id(fields: Fields) -> str:
    socket_id = fields.get("socket_id")
    if not is_socket_id(socket_id):
        raise BadInput(HTTPStatus.BAD_REQUEST, "socket_id is not valid")
    return socket_id


def _channel_name(name: object) -> str:
    if not is_channel_name(name):
        raise BadInput(HTTPStatus.BAD_REQUEST, "channel_name is not valid")
    return name


def _application(app_id: str | None) -> Application:
    apps = get_settings().apps
    app = apps[0] if app_id is None else find_application(apps, app_id=app_id)
    if app is None:
        raise ImproperlyConfigured(
            f"A route of an auth endpoint names the application {app_id!r}, which is no ID in "
            f'BROADCASTING["APPS"].'
        )
    if not app.enabled:
        raise Denied(f'application {app.id!r} is not "ENABLED"')
    return app


# What is told of a refusal: much to the log, nothing to who asks, all to a developer.


def _denial(denied: Denied, what: str) -> dict[str, str]:
    level = logging.ERROR if isinstance(denied, Mistaken) else logging.WARNING
    logger.log(level, "Refused %s: %s", _printable(what), _printable(str(denied)))
    reason = {"reason": str(denied)} if settings.DEBUG else {}
    return {"error": "Forbidden", **reason}


def _who(user: User | None) -> str:
    return "a visitor" if user is None else f"user {user.pk}"


def _printable(text: str) -> str:
    """Return `text` for the log: a line stays one, and nothing runs the other way."""
    cut = text if len(text) <= MAX_LOGGED else f"{text[: MAX_LOGGED - 1]}\N{HORIZONTAL ELLIPSIS}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
