"""The list of rooms, and one room."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, F, Max, Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from broadcasting import broadcast, event

from .answers import json_answer, public
from .events import MessagePosted, NicknameChanged, PrivateMessagePosted, RoomMade
from .forms import MessageForm, RoomForm
from .models import MAX_MESSAGE, ChatMessage, Person, Room
from .names import MAX_NICKNAME, MAX_ROOM_NAME, clean_room_name, key_of
from .people import person_in, rename
from .snippets import Snippet

# Limits: messages of a new page, messages that it missed, people and rooms in a list.
LATEST = 50
MISSED = 200
VISITORS = 200
MAX_ROOMS = 100


@require_http_methods(["GET", "HEAD", "POST"])
def rooms(request: HttpRequest) -> HttpResponse:
    """List the rooms. A POST redirects to the room that it names."""
    form = RoomForm(request.POST) if request.method == "POST" else RoomForm()
    if form.is_valid():
        return redirect("room", form.cleaned_data["name"])
    for_all = Q(messages__recipient=None)
    found = Room.objects.annotate(
        said=Count("messages", filter=for_all), last=Max("messages__posted_at", filter=for_all)
    )
    context = {
        "rooms": found.order_by(F("last").desc(nulls_last=True), "-pk")[:MAX_ROOMS],
        "form": form,
        "max_name": MAX_ROOM_NAME,
    }
    return render(request, "whik/rooms.html", context, status=400 if form.errors else 200)


@never_cache
@require_safe
def room(request: HttpRequest, name: str) -> HttpResponse:
    """Show a room, which is made on the first visit."""
    found = _make_room(name) if request.method == "GET" else _find_room(name)
    if found.name != name:
        return redirect(found)
    person = person_in(request)
    found.visit(person)
    return _room_page(request, found, person)


@never_cache
@require_safe
def state(request: HttpRequest, name: str) -> HttpResponse:
    """Return the messages in a room after the message `since`, and the names of people."""
    found, person = _find_room(name), person_in(request)
    found.visit(person)
    given = request.GET.get("since", "0")
    if not (given.isascii() and given.isdigit() and len(given) < 19):
        return _refuse(_("since must be the number of a message."))
    later = found.messages_for(person).filter(pk__gt=int(given))
    latest = list(later.order_by("-pk")[: MISSED + 1])
    visits = found.visits.select_related("person").order_by("-seen_at")[:VISITORS]
    return json_answer(
        {
            "me": public(person),
            "messages": [public(message) for message in reversed(latest[:MISSED])],
            "is_cut": len(latest) > MISSED,
            "people": [public(visit.person) for visit in visits],
        }
    )


@require_POST
def messages(request: HttpRequest, name: str) -> HttpResponse:
    """Post a message in a room: to everybody, or to the person `to`."""
    found, person = _find_room(name), person_in(request)
    if refusal := _refuse_stranger(request, person):
        return refusal
    found.visit(person)
    form = MessageForm(request.POST, room=found, author=person)
    if not form.is_valid():
        problems = [text for texts in form.errors.values() for text in texts]
        return _answer_error(request, found, person, " ".join(map(str, problems)))
    with transaction.atomic():
        if earlier := form.earlier():
            return json_answer({"message": public(earlier)})
        if form.is_flood():
            text = _("You sent too many messages in a short time. Wait ten seconds and try again.")
            return _answer_error(request, found, person, text, status=429)
        message = form.save()
        # shown
        posted = PrivateMessagePosted if message.recipient else MessagePosted
        broadcast(posted(message), to_others=True)
        # end
    if not _wants_json(request):
        return redirect(found)
    return json_answer({"message": public(message)}, status=201)


@require_POST
def nickname(request: HttpRequest, name: str) -> HttpResponse:
    """Give the guest who asks another name."""
    found, person = _find_room(name), person_in(request)
    if refusal := _refuse_stranger(request, person):
        return refusal
    if not person.is_guest:
        return _refuse(_("You are logged in, so your name is that of your account."), status=403)
    before = person.name
    try:
        with transaction.atomic():
            rename(person, request.POST.get("name", ""))
            if person.name != before:
                event(NicknameChanged(person, before))
    except ValidationError as error:
        return _answer_error(request, found, person, error.messages[0])
    if not _wants_json(request):
        return redirect(found)
    return json_answer({"person": public(person)})


def _make_room(name: str) -> Room:
    try:
        name = clean_room_name(name)
    except ValidationError as error:
        raise Http404 from error
    with transaction.atomic():
        found, is_new = Room.objects.get_or_create(key=key_of(name), defaults={"name": name})
        if is_new:
            event(RoomMade(found.name))
    return found


def _find_room(name: str) -> Room:
    return get_object_or_404(Room, key=key_of(name))


def _room_page(
    request: HttpRequest, found: Room, person: Person, error: str = "", status: int = 200
) -> HttpResponse:
    latest: list[ChatMessage] = list(found.messages_for(person).order_by("-pk")[:LATEST])[::-1]
    context: dict[str, Any] = {
        "room": found,
        "person": person,
        "chat_messages": latest,
        "error": error,
        "text": request.POST.get("text", ""),
        "max_message": MAX_MESSAGE,
        "max_nickname": MAX_NICKNAME,
        "event": Snippet.of(MessagePosted),
        "fire": Snippet.marked("whik/chat_views.py"),
        "authorize": Snippet.marked("whik/channel_auth.py"),
        "listen": Snippet.marked("whik/static/whik/chat.js"),
    }
    return render(request, "whik/room.html", context, status=status)


def _refuse_stranger(request: HttpRequest, person: Person) -> HttpResponse | None:
    # After a login or logout in another tab, this one must not post under the other name.
    if request.POST.get("me", person.id) == person.id:
        return None
    text = _("In this browser you are now {name}. Reload the page to continue.")
    return _refuse(text.format(name=person.name), status=409)


def _answer_error(
    request: HttpRequest, found: Room, person: Person, text: str, status: int = 400
) -> HttpResponse:
    if _wants_json(request):
        return _refuse(text, status)
    return _room_page(request, found, person, text, status)


def _refuse(text: str, status: int = 400) -> HttpResponse:
    return json_answer({"error": text}, status)


def _wants_json(request: HttpRequest) -> bool:
    # A form without a script asks for a page.
    return request.accepts("application/json") and not request.accepts("text/html")
