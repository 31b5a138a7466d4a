"""What happens in the demo."""

from broadcasting import Channel, PresenceChannel, ShouldBroadcast

from .models import ChatMessage, DemoUser, Person


class NewUserCreated(ShouldBroadcast):
    """A user has been saved."""

    def __init__(self, user: DemoUser) -> None:
        self.user = user

    def broadcast_on(self) -> Channel:
        """Everybody may listen."""
        return Channel("whik")


class MessagePosted(ShouldBroadcast):
    """Somebody has said something to all in a room."""

    def __init__(self, message: ChatMessage) -> None:
        self.message = message

    def broadcast_on(self) -> Channel:
        """All who are in the room may listen."""
        return PresenceChannel(f"chat.{self.message.room_id}")

    def broadcast_when(self) -> bool:
        """Tell whether it is for all: a private message never goes this way."""
        return self.message.recipient is None


class PrivateMessagePosted(ShouldBroadcast):
    """Somebody has said something to one other person."""

    def __init__(self, message: ChatMessage) -> None:
        self.message = message

    def broadcast_on(self) -> list[str]:
        """Only the sockets that signed in as one of the two: the author may have more windows."""
        two = {self.message.recipient_id, self.message.author_id}
        return [f"#server-to-user-{person_id}" for person_id in two if person_id]


class NicknameChanged(ShouldBroadcast):
    """A guest is called by another name, in every room where they have been."""

    # As many channels as one message may have.
    MAX_ROOMS = 100

    def __init__(self, person: Person, before: str) -> None:
        self.person = person
        self.before = before

    def broadcast_on(self) -> list[Channel]:
        """All who may have the old name in a list."""
        visits = self.person.visits.order_by("-seen_at")[: self.MAX_ROOMS]
        return [PresenceChannel(f"chat.{visit.room_id}") for visit in visits]


class RoomMade(ShouldBroadcast):
    """There is a new room."""

    def __init__(self, name: str) -> None:
        self.name = name

    def broadcast_on(self) -> Channel:
        """Everybody who looks at the list of rooms."""
        return Channel("rooms")
