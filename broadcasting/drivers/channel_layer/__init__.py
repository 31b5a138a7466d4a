"""The driver over a channel layer of Django Channels."""

from .broadcaster import ChannelLayerBroadcaster

__all__ = ["ChannelLayerBroadcaster"]
