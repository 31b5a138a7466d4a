"""
The API of the list of things: JSON in, JSON out, also for errors.

Nothing here broadcasts: `Thing` does, when it is saved or deleted.
"""

import json
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import ensure_csrf_cookie

from .answers import json_answer, public
from .forms import ThingForm
from .models import Thing
from .names import key_of
from .throttle import SECONDS, is_too_fast, too_fast_text

MAX_BODY = 4096  # Bytes.


class Refused(Exception):
    """
    Raised when a request is refused.

    Attributes:
        answer: The response: one sentence as ``error``, or a list of sentences for each
            field as ``errors``.
    """

    def __init__(self, status: int, why: str | Mapping[str, list[str]], **headers: str) -> None:
        super().__init__(why)
        self.answer = json_answer({"error" if isinstance(why, str) else "errors": why}, status)
        for name, value in headers.items():
            self.answer[name.replace("_", "-")] = value


def _api(*methods: str) -> Callable[..., Callable[..., HttpResponse]]:
    """Decorate a view of the API, which accepts `methods` and may raise `Refused`."""

    def decorate(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @wraps(view)
        def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                if request.method not in methods:
                    error = _("{method} is not allowed here.").format(method=request.method)
                    raise Refused(405, error, Allow=", ".join(methods))
                if request.method not in {"GET", "HEAD"} and is_too_fast(request):
                    raise Refused(429, too_fast_text(), Retry_After=str(SECONDS))
                return view(request, *args, **kwargs)
            except Refused as refused:
                return refused.answer

        # Other methods must send the cookie's token as X-CSRFToken.
        return never_cache(ensure_csrf_cookie(answer))

    return decorate


@_api("GET", "HEAD", "POST", "DELETE")
def things(request: HttpRequest) -> HttpResponse:
    """List all things; make one; delete the one with the id or name in the body."""
    match request.method:
        case "POST":
            return _save(request)
        case "DELETE":
            with transaction.atomic():
                return _delete(_find(_fields(request, "id", "name")))
    return json_answer({"things": [public(thing) for thing in Thing.objects.all()]})


@_api("GET", "HEAD", "PATCH", "DELETE")
def thing(request: HttpRequest, which: str) -> HttpResponse:
    """Show, rename or delete one thing: `which` is its id, or a name that is not a number."""
    is_id = which.isascii() and which.isdecimal() and len(which) < 19
    wanted: dict[str, Any] = {"id": int(which)} if is_id else {"name": which}
    match request.method:
        case "PATCH":
            return _save(request, wanted)
        case "DELETE":
            with transaction.atomic():
                return _delete(_find(wanted))
    return json_answer({"thing": public(_find(wanted))})


def _save(request: HttpRequest, wanted: dict[str, Any] | None = None) -> HttpResponse:
    fields = _fields(request, "name")
    # shown
    with transaction.atomic():
        form = ThingForm(fields, instance=_find(wanted) if wanted else None)
        if not form.is_valid():
            return _invalid(form)
        thing = form.save()
    # end
    answer = json_answer({"thing": public(thing)}, status=200 if wanted else 201)
    if not wanted:
        answer["Location"] = reverse("api-thing", args=[thing.pk])
    return answer


def _delete(thing: Thing) -> HttpResponse:
    answer = json_answer({"thing": public(thing)})  # It may be used to make the thing again.
    thing.delete()
    return answer


def _invalid(form: ThingForm) -> HttpResponse:
    return json_answer({"errors": {name: [*texts] for name, texts in form.errors.items()}}, 400)


def _find(wanted: dict[str, Any]) -> Thing:
    match wanted:
        case {"id": int(number), **rest} if not rest and not isinstance(number, bool):
            found = Thing.objects.filter(pk=number)
        case {"name": str(name), **rest} if not rest:
            found = Thing.objects.filter(key=key_of(name))
        case _:
            raise Refused(400, _('Name the thing: {"id": 7} or {"name": "apple"}.'))
    try:
        return found.get()
    except Thing.DoesNotExist:
        which = next(iter(wanted.values()))
        raise Refused(404, _("There is no thing {which}.").format(which=which)) from None


def _fields(request: HttpRequest, *known: str) -> dict[str, Any]:
    """Return the JSON object in the body. Raise `Refused` if it has other than `known` fields."""
    if request.content_type != "application/json":
        raise Refused(415, _("Send JSON with Content-Type: application/json."))
    length = request.META.get("CONTENT_LENGTH") or "0"
    # Checked first, so that a long body is not read.
    if (length.isdecimal() and int(length) > MAX_BODY) or len(request.body) > MAX_BODY:
        raise Refused(413, _("The body has more than {limit} bytes.").format(limit=MAX_BODY))
    try:
        fields = json.loads(request.body)
        # JSON may have half of a surrogate pair, which cannot be stored.
        json.dumps(fields, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Refused(400, _("The body is not JSON.")) from None
    if not isinstance(fields, dict):
        raise Refused(400, _("The body must be a JSON object."))
    if unknown := fields.keys() - set(known):
        raise Refused(400, {name: [_("There is no such field.")] for name in sorted(unknown)})
    if not isinstance(fields.get("name", ""), str):
        raise Refused(400, {"name": [_("A name must be text.")]})
    return fields
