"""What an event says about its own broadcast."""

from collections.abc import Mapping, Sequence

from ..channel import Channels
from .payload import public_fields


class ShouldBroadcast:
    """
    Mix into a class whose instances are sent to browsers when they are fired.

    Only `broadcast_on` must be written. Each method is asked once, when the event is
    fired; so what happens to the event afterwards does not alter what is sent. The
    class may be a plain one, a dataclass or an attrs class, frozen and slotted or not.

    The broadcast leaves when the transaction under way commits, and never if that is
    rolled back. A failure is logged and does not reach the code that fired the event.
    """

    __slots__ = ()

    def broadcast_on(self) -> Channels:
        """Return the channel or channels to send to; none to send to nobody."""
        raise NotImplementedError(
            f"{type(self).__name__} does not say where it is sent. Define broadcast_on() and "
            f'return, for example, [PrivateChannel("news")].'
        )

    def broadcast_as(self) -> str:
        """Return the event's name for clients: the name of the class, unless overridden."""
        return type(self).__name__

    def broadcast_with(self) -> Mapping[str, object]:
        """Return the data to send: the public fields, unless overridden."""
        hooks = vars(ShouldBroadcast)
        return {name: value for name, value in public_fields(self).items() if name not in hooks}

    def broadcast_when(self) -> bool:
        """Tell whether to send at all."""
        return True

    def broadcast_via(self) -> str | Sequence[str]:
        """Return the alias or aliases to send through; none for the default connection."""
        return ()


class ShouldBroadcastNow(ShouldBroadcast):
    """
    A `ShouldBroadcast` that is sent at once and whose failure is raised.

    It does not wait for a commit, so clients may hear of what is rolled back later.
    """

    __slots__ = ()
