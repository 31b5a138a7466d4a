"""People in the chat: users by their account, guests by their browser."""

from datetime import timedelta
from itertools import count

from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from broadcasting.guests import Guest, get_guest

from .models import MAX_NAME, DemoUser, Person
from .names import clean_nickname, key_of

# A guest who is not seen for so long loses their name.
NAME_IS_KEPT = timedelta(days=1)


def person_in(request: HttpRequest) -> Person:
    """Return the sender of `request`: the user who is logged in, or the browser's guest."""
    return person_of(request.user if request.user.is_authenticated else get_guest(request))


def person_of(user: AbstractBaseUser | Guest) -> Person:
    """
    Return the person of a user or guest.

    A user has the name of the account. A guest gets a name in their language on the first
    visit, and may change it.
    """
    person_id = str(user.pk)
    person = Person.objects.filter(pk=person_id).first()
    if person is not None and isinstance(user, Guest):
        return _seen(person)
    if isinstance(user, Guest):
        return _make_guest(person_id)
    name = DemoUser.objects.get(pk=user.pk).name[:MAX_NAME]
    if person is not None and person.name == name:
        return _seen(person)
    with transaction.atomic():
        person = person or Person(id=person_id)
        person.name, person.seen_at = _free_name(name, person_id), timezone.now()
        person.save()
    return person


def rename(person: Person, text: str) -> None:
    """
    Give a guest another name.

    Raises:
        ValidationError: The name is not allowed, or somebody else has it.
    """
    name = clean_nickname(text)
    with transaction.atomic():
        if _is_taken(name, person.id):
            raise ValidationError(_("{name} is the name of somebody else.").format(name=name))
        person.name, person.seen_at = name, timezone.now()
        person.save()


def _make_guest(person_id: str) -> Person:
    with transaction.atomic():
        for number in count(Person.objects.count() + 1):
            name = _("Guest-{number}").format(number=number)
            if not _is_taken(name, person_id):
                break
        person, _is_new = Person.objects.get_or_create(id=person_id, defaults={"name": name})
    return person


def _seen(person: Person) -> Person:
    now = timezone.now()
    if person.seen_at < now - timedelta(minutes=1):
        person.seen_at = now
        person.save(update_fields=["seen_at"])
    return person


def _free_name(name: str, person_id: str) -> str:
    """Return `name`, with a number if somebody else has it."""
    if not _is_taken(name, person_id):
        return name
    return next(
        numbered
        for number in count(2)
        if not _is_taken(numbered := f"{name[: MAX_NAME - 5]}-{number}", person_id)
    )


def _is_taken(name: str, person_id: str) -> bool:
    lately = Q(seen_at__gt=timezone.now() - NAME_IS_KEPT) | ~Q(id__startswith="guest-")
    return Person.objects.filter(lately, key=key_of(name)).exclude(id=person_id).exists()
