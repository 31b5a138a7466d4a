"""The pages of the list of things. They do not broadcast: `Thing` does, when it is saved."""

from django.db import transaction
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.html import escape, format_html
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from .forms import ThingForm
from .models import Thing
from .names import MAX_THING_NAME
from .snippets import Snippet
from .throttle import is_too_fast, too_fast_text


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def things(request: HttpRequest) -> HttpResponse:
    """List the things. A POST from a page without scripts makes one."""
    return _save(request, Thing()) if request.method == "POST" else _page(request)


@require_POST
def thing(request: HttpRequest, pk: int) -> HttpResponse:
    """Rename a thing or delete it, for a page without scripts."""
    found = get_object_or_404(Thing, pk=pk)
    if "delete" not in request.POST:
        return _save(request, found)
    if is_too_fast(request):
        return _page(request, too_fast_text(), status=429)
    found.delete()
    return redirect("things")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def things_htmx(request: HttpRequest) -> HttpResponse:
    """List the things for htmx. A POST makes one and returns its row."""
    if request.method == "POST":
        return _save_for_htmx(request, Thing(), request.POST)
    context = {
        "things": Thing.objects.all(),
        "max_name": MAX_THING_NAME,
        "render": Snippet.marked("whik/listeners.py"),
        "row": Snippet.whole("templates/whik/thing_row.html"),
        "listen": Snippet.marked("templates/whik/things_htmx.html"),
    }
    return render(request, "whik/things_htmx.html", context)


@never_cache
@require_http_methods(["GET", "HEAD", "PATCH", "DELETE"])
def thing_htmx(request: HttpRequest, pk: int) -> HttpResponse:
    """Return the form for a thing; rename or delete it, and return its row."""
    thing = Thing.objects.filter(pk=pk).first()
    if thing is None:
        return _wrong(_("There is no thing {which}.").format(which=pk), status=404)
    match request.method:
        case "PATCH":
            return _save_for_htmx(request, thing, QueryDict(request.body))
        case "DELETE":
            return _delete_for_htmx(request, thing)
    return render(request, "whik/thing_edit.html", {"thing": thing, "max_name": MAX_THING_NAME})


def _save(request: HttpRequest, thing: Thing) -> HttpResponse:
    if is_too_fast(request):
        return _page(request, too_fast_text(), status=429)
    if not (form := _saved(thing, request.POST)).errors:
        return redirect("things")
    # The form for a new thing keeps what was typed; a row shows the name that is stored.
    name = "" if thing.pk else request.POST.get("name", "")
    return _page(request, _sentence(form), name, status=400)


def _save_for_htmx(request: HttpRequest, thing: Thing, fields: QueryDict) -> HttpResponse:
    if is_too_fast(request):
        return _wrong(too_fast_text(), status=429)
    is_new = thing.pk is None
    form = _saved(thing, fields)
    if form.errors:
        return _wrong(_sentence(form), status=400)
    return render(request, "whik/thing_row.html", {"thing": form.instance, "oob": not is_new})


def _delete_for_htmx(request: HttpRequest, thing: Thing) -> HttpResponse:
    if is_too_fast(request):
        return _wrong(too_fast_text(), status=429)
    row = format_html('<li id="row-{}" hx-swap-oob="delete"></li>', thing.pk)
    thing.delete()
    return HttpResponse(row)


def _saved(thing: Thing, fields: QueryDict) -> ThingForm:
    """Return the form, whose thing is saved unless it has errors."""
    with transaction.atomic():
        form = ThingForm(fields, instance=thing)
        if form.is_valid():
            form.save()
    return form


def _sentence(form: ThingForm) -> str:
    return " ".join(str(text) for texts in form.errors.values() for text in texts)


def _wrong(text: str, status: int) -> HttpResponse:
    # htmx inserts it as HTML, and anybody may have chosen the name in it.
    return HttpResponse(escape(text), status=status)


def _page(request: HttpRequest, error: str = "", name: str = "", status: int = 200) -> HttpResponse:
    context = {
        "things": Thing.objects.all(),
        "error": error,
        "name": name,
        "max_name": MAX_THING_NAME,
        "model": Snippet.marked("whik/models.py"),
        "change": Snippet.marked("whik/thing_api.py"),
        "listen": Snippet.marked("whik/static/whik/things.js"),
    }
    return render(request, "whik/things.html", context, status=status)
