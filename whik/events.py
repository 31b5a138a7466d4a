"""What happens in the demo."""

from broadcasting import Channel, ShouldBroadcast

from .models import DemoUser


class NewUserCreated(ShouldBroadcast):
    """A user has been saved."""

    def __init__(self, user: DemoUser) -> None:
        self.user = user

    def broadcast_on(self) -> Channel:
        """Everybody may listen."""
        return Channel("whik")
