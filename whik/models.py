"""Whom the demo makes and announces."""

from django.contrib.auth.models import User


class DemoUser(User):
    """Django's user, with a `name` and the list of fields that may leave the server."""

    broadcast_fields = ["id", "username", "name", "email", "date_joined"]

    class Meta:
        proxy = True

    @property
    def name(self) -> str:
        """The full name in the order and spacing of its script."""
        if "가" <= self.last_name[:1] <= "힣":
            return self.last_name + self.first_name
        return self.get_full_name() or self.username
