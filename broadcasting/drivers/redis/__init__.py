"""The redis driver. Settings name ``broadcasting.drivers.redis.RedisBroadcaster``."""

from .broadcaster import RedisBroadcaster

__all__ = ["RedisBroadcaster"]
