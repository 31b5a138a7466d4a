"""The start page, the list of events and the page that makes users."""

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from broadcasting import broadcast, event

from .answers import json_answer, public
from .events import NewUserCreated
from .factories import UserFactory
from .snippets import Snippet

MAX_COUNT = 1000


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Show how an event goes from one connection to another."""
    return render(request, "whik/index.html", _snippets())


@require_safe
def sub(request: HttpRequest) -> HttpResponse:
    """List events as they arrive."""
    return render(request, "whik/sub.html", _snippets())


@never_cache
@require_http_methods(["GET", "POST"])
def pub(request: HttpRequest) -> HttpResponse:
    """
    Make a user, or `count` of them, and broadcast each.

    A POST comes from a page that shows the answer itself, so its own socket is left out.
    """
    given = request.POST.get("count", request.GET.get("count"))
    try:
        count = _count(given)
    except ValueError:
        return json_answer(
            {"error": f"count is {given!r}; it must be a whole number from 1 to {MAX_COUNT}."},
            status=400,
        )
    with transaction.atomic():
        users = UserFactory.create_batch(count)
        # shown
        for user in users:
            if request.method == "POST":
                broadcast(NewUserCreated(user), to_others=True)
            else:
                event(NewUserCreated(user))
        # end
    answer = [public(user) for user in users]
    return json_answer(answer[0] if given is None else {"users": answer})


def _count(given: str | None) -> int:
    count = 1 if given is None else int(given)
    if not 1 <= count <= MAX_COUNT:
        raise ValueError
    return count


def _snippets() -> dict[str, Snippet]:
    return {
        "event": Snippet.of(NewUserCreated),
        "fire": Snippet.marked("whik/views.py"),
        "listen": Snippet.marked("whik/static/whik/sub.js"),
    }
