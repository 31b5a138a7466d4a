"""The HTTP API's calls that ask: ``channels``, ``channels/<name>`` and its ``users``."""

from math import ceil

from ..drivers.base import Broker
from ..protocol.messages import topic_of
from ..protocol.names import is_cache, is_channel_name, is_presence
from .info import CACHE, SUBSCRIPTION_COUNT, USER_COUNT, infos, open_broker, parse_info
from .request import ApiError, Request, check_channel_name

_NO_USERS = "Cannot retrieve the user count unless the channel is a presence channel"


async def list_channels(request: Request) -> object:
    """Answer ``GET channels``: those that have sockets."""
    request.forbid_others(("filter_by_prefix", "info"))
    prefix = request.parameters.get("filter_by_prefix", "")
    attributes = parse_info(request.parameters.get("info"))
    if USER_COUNT in attributes and not is_presence(prefix):
        raise ApiError(400, f"{_NO_USERS}: filter_by_prefix must begin with presence-")
    if CACHE in attributes:
        raise ApiError(400, "Cannot retrieve the cache of more than one channel")
    broker = open_broker(for_presence=True)
    occupied = await broker.presence.occupied(request.app.id, prefix)
    # Servers' and users' own channels, which begin with #, are no channels to callers.
    names = sorted(filter(is_channel_name, occupied))
    others = [name for name in attributes if name != SUBSCRIPTION_COUNT]
    known = await infos(broker, request.app, [(name, others) for name in names])
    if SUBSCRIPTION_COUNT in attributes:  # Of the same moment as the list.
        for name, info in zip(names, known, strict=True):
            info[SUBSCRIPTION_COUNT] = occupied[name]
    return {"channels": dict(zip(names, known, strict=True))}


async def show_channel(request: Request) -> object:
    """Answer ``GET channels/<name>``, also for a channel without sockets."""
    request.forbid_others(("info",))
    name = check_channel_name(request.app, request.call[1])
    attributes = parse_info(request.parameters.get("info"))
    if USER_COUNT in attributes and not is_presence(name):
        raise ApiError(400, _NO_USERS)
    if CACHE in attributes and not is_cache(name):
        raise ApiError(400, "Cannot retrieve the cache unless the channel is a cache channel")
    broker = open_broker(for_presence=True)
    wanted = (SUBSCRIPTION_COUNT, *attributes)
    [known] = await infos(broker, request.app, [(name, wanted)])
    answer: dict[str, object] = {"occupied": known[SUBSCRIPTION_COUNT] > 0}
    answer |= {key: value for key, value in known.items() if key in attributes}
    if CACHE in attributes:
        answer[CACHE] = await _cached(broker, topic_of(request.app.id, name))
    return answer


async def list_users(request: Request) -> object:
    """Answer ``GET channels/<name>/users``: each user of a presence channel once."""
    request.forbid_others()
    name = check_channel_name(request.app, request.call[1])
    if not is_presence(name):
        raise ApiError(400, "Cannot retrieve the users unless the channel is a presence channel")
    broker = open_broker(for_presence=True)
    members = await broker.presence.members(topic_of(request.app.id, name))
    return {"users": [{"id": user_id} for user_id in members.infos]}


async def _cached(broker: Broker, channel_topic: str) -> object:
    cached = await broker.cached(channel_topic)
    if cached is None:
        return None
    return {"data": cached.data, "ttl": ceil(cached.ttl)}
