"""The demo's events."""

from broadcasting import Channel, PresenceChannel, ShouldBroadcast

from .models import ChatMessage, DemoUser, Person


class NewUserCreated(ShouldBroadcast):
    """A user was saved."""

    def __init__(self, user: DemoUser) -> None:
        self.user = user

    def broadcast_on(self) -> Channel:
        return Channel("whik")


class MessagePosted(ShouldBroadcast):
    """A message was posted for everybody in a room."""

    def __init__(self, message: ChatMessage) -> None:
        self.message = message

    def broadcast_on(self) -> Channel:
        return PresenceChannel(f"chat.{self.message.room_id}")

    def broadcast_when(self) -> bool:
        # Never send a private message to the room.
        return self.message.recipient is None


class PrivateMessagePosted(ShouldBroadcast):
    """A message was posted for one other person."""

    def __init__(self, message: ChatMessage) -> None:
        self.message = message

    def broadcast_on(self) -> list[str]:
        # To the author as well, who may have more windows.
        two = {self.message.recipient_id, self.message.author_id}
        return [f"#server-to-user-{person_id}" for person_id in two if person_id]


class NicknameChanged(ShouldBroadcast):
    """A guest has a new name, in every room where they have been."""

    # One event may have so many channels.
    MAX_ROOMS = 100

    def __init__(self, person: Person, before: str) -> None:
        self.person = person
        self.before = before

    def broadcast_on(self) -> list[Channel]:
        visits = self.person.visits.order_by("-seen_at")[: self.MAX_ROOMS]
        return [PresenceChannel(f"chat.{visit.room_id}") for visit in visits]


class RoomMade(ShouldBroadcast):
    """A room was made."""

    def __init__(self, name: str) -> None:
        self.name = name

    def broadcast_on(self) -> Channel:
        return Channel("rooms")
