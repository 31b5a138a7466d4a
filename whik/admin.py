"""The demo's data in the admin."""

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
    """Messages. The text of private ones is not shown."""

    list_display = ("posted_at", "room", "author", "recipient", "words")
    list_filter = ("room",)
    list_select_related = ("room", "author", "recipient")
    exclude = ("text", "token")

    @admin.display(description="text")
    def words(self, message: ChatMessage) -> str:
        return message.text if message.recipient_id is None else "…"

    def has_add_permission(self, request: object) -> bool:
        return False  # Messages are written in a room.


@admin.register(Thing)
class ThingAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # Django has no such argument.
    """Things. Each change is broadcast to the pages that show the list."""

    form = ThingForm
    list_display = ("name", "made_at")
    search_fields = ("name",)
