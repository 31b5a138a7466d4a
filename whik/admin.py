"""What is said and listed, for who looks after the demo."""

from django.contrib import admin

from .forms import ThingForm
from .models import ChatMessage, Person, Room, Thing


@admin.register(Room)
class RoomAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # Django has no such argument.
    list_display = ("name", "made_at")
    search_fields = ("name",)


@admin.register(Person)
class PersonAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # Django has no such argument.
    list_display = ("name", "id", "seen_at")
    search_fields = ("name", "id")


@admin.register(ChatMessage)
class ChatMessageAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # Django has no such argument.
    """Private messages are listed without their text: the two may expect that."""

    list_display = ("posted_at", "room", "author", "recipient", "words")
    list_filter = ("room",)
    list_select_related = ("room", "author", "recipient")
    exclude = ("text", "token")

    @admin.display(description="text")
    def words(self, message: ChatMessage) -> str:
        """Return what was said to all."""
        return message.text if message.recipient_id is None else "…"

    def has_add_permission(self, request: object) -> bool:
        """Say things in the room."""
        return False


@admin.register(Thing)
class ThingAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # Django has no such argument.
    """Whatever is done here appears on the page of things at once."""

    form = ThingForm
    list_display = ("name", "made_at")
    search_fields = ("name",)
