"""Forms of the chat, the list of things and the login page."""

import re
from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _

from .demo_people import password_of
from .models import MAX_MESSAGE, ChatMessage, Person, Room, Thing
from .names import clean_room_name, clean_thing_name, is_visible, key_of

# More than a person writes, less than a script.
BURST = 20
BURST_TIME = timedelta(seconds=10)
# A page shows all of them.
MAX_THINGS = 100


class RoomForm(forms.Form):
    """The name of a room to enter."""

    name = forms.CharField(required=False)

    def clean_name(self) -> str:
        return clean_room_name(self.cleaned_data["name"])


class MessageForm(forms.Form):
    """
    A message to post.

    Args:
        room: The room.
        author: The person who writes it.
    """

    text = forms.CharField(required=False, strip=False)
    to = forms.CharField(required=False)
    token = forms.CharField(required=False)

    def __init__(self, data: Any, *, room: Room, author: Person) -> None:
        super().__init__(data)
        self.room = room
        self.author = author

    def clean_text(self) -> str:
        # Browsers send two characters for the end of a line.
        text: str = self.cleaned_data["text"].replace("\r\n", "\n").strip()
        if not is_visible(text):
            raise ValidationError(_("Write something first."))
        if len(text) > MAX_MESSAGE:
            raise ValidationError(
                _("A message has at most {limit} characters; this one has {count}.").format(
                    limit=MAX_MESSAGE, count=len(text)
                )
            )
        return text

    def clean_to(self) -> Person | None:
        """Return the recipient, `None` for everybody."""
        if not self.cleaned_data["to"]:
            return None
        visitors = Person.objects.filter(visits__room=self.room)
        recipient = visitors.filter(pk=self.cleaned_data["to"]).first()
        if recipient is None:
            raise ValidationError(_("This person has not been in this room."))
        if recipient == self.author:
            raise ValidationError(_("That is you. Choose somebody else."))
        return recipient

    def clean_token(self) -> str:
        """Return the token, empty if it does not look like ours."""
        token: str = self.cleaned_data["token"]
        return token if re.fullmatch(r"[\w-]{1,36}", token, re.ASCII) else ""

    def is_flood(self) -> bool:
        """Whether the author has posted too much in the last seconds."""
        since = timezone.now() - BURST_TIME
        return self.author.messages.filter(posted_at__gt=since).count() >= BURST

    def earlier(self) -> ChatMessage | None:
        """Return the message if this form was sent before and its answer was lost."""
        token = self.cleaned_data["token"]
        return self.author.messages.filter(token=token).first() if token else None

    def save(self) -> ChatMessage:
        return ChatMessage.objects.create(
            room=self.room,
            author=self.author,
            recipient=self.cleaned_data["to"],
            text=self.cleaned_data["text"],
            token=self.cleaned_data["token"],
        )


class ThingForm(forms.ModelForm):  # type: ignore[type-arg]  # Django has no such argument.
    """
    A thing to make or rename, for the API, the pages and the admin.

    Use it inside an atomic block, so that two requests do not use one name.
    """

    name = forms.CharField(required=False, strip=False)

    class Meta:
        model = Thing
        fields = ("name",)

    def clean_name(self) -> str:
        name = clean_thing_name(self.cleaned_data["name"])
        others = Thing.objects.exclude(pk=self.instance.pk)
        if others.filter(key=key_of(name)).exists():
            raise ValidationError(_("There is already a thing called {name}.").format(name=name))
        return name

    def clean(self) -> dict[str, Any] | None:
        if self.instance.pk is None and Thing.objects.count() >= MAX_THINGS:
            raise ValidationError(
                _("The list is full: it holds {limit} things. Delete one first.").format(
                    limit=MAX_THINGS
                )
            )
        return super().clean()


class LoginForm(AuthenticationForm):
    """Name and password. With DEBUG there is a button for each demo account."""

    end_others = forms.BooleanField(required=False)

    def clean(self) -> dict[str, Any]:
        """Fill in name and password if the button of a demo account was pressed."""
        username = self.data.get("demo")
        if username and settings.DEBUG:
            self.errors.clear()
            self.cleaned_data |= {"username": username, "password": password_of(username)}
        return super().clean()
