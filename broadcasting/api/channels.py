"""What the HTTP API tells of channels: three calls, and ``info`` in the answers to events."""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil

from ..applications import Application
from ..drivers.base import Broker
from ..drivers.registry import get_broker
from ..drivers.serving import is_serving_here
from ..protocol.messages import topic_of
from ..protocol.names import is_cache, is_channel_name, is_presence, is_user_channel
from .request import ApiError, SignedRequest, check_channel_name, shown

SUBSCRIPTION_COUNT = "subscription_count"
USER_COUNT = "user_count"
CACHE = "cache"
ATTRIBUTES = (SUBSCRIPTION_COUNT, USER_COUNT, CACHE)

_NO_USERS = "Cannot retrieve the user count unless the channel is a presence channel"

Info = dict[str, int]


async def list_channels(request: SignedRequest) -> object:
    """Answer ``GET channels``: those that have subscribers."""
    request.forbid_others("filter_by_prefix", "info")
    prefix = request.parameters.get("filter_by_prefix", "")
    attributes = parse_info(request.parameters.get("info"))
    if USER_COUNT in attributes and not is_presence(prefix):
        raise ApiError(400, f"{_NO_USERS}: filter_by_prefix must begin with presence-")
    if CACHE in attributes:
        raise ApiError(400, "Cannot retrieve the cache of more than one channel")
    broker = open_broker(for_presence=True)
    occupied = await broker.presence.occupied(request.app.id, prefix)
    # Names with # are channels of users and of servers, which are not listed.
    names = sorted(filter(is_channel_name, occupied))
    others = [name for name in attributes if name != SUBSCRIPTION_COUNT]
    known = await infos(broker, request.app, [(name, others) for name in names])
    if SUBSCRIPTION_COUNT in attributes:  # Of the same moment as the list.
        for name, info in zip(names, known, strict=True):
            info[SUBSCRIPTION_COUNT] = occupied[name]
    return {"channels": dict(zip(names, known, strict=True))}


async def show_channel(request: SignedRequest) -> object:
    """Answer ``GET channels/<name>``, also for a channel without subscribers."""
    request.forbid_others("info")
    name = check_channel_name(request.app, request.call[1])
    attributes = parse_info(request.parameters.get("info"))
    if USER_COUNT in attributes and not is_presence(name):
        raise ApiError(400, _NO_USERS)
    if CACHE in attributes and not is_cache(name):
        raise ApiError(400, "Cannot retrieve the cache unless the channel is a cache channel")
    broker = open_broker(for_presence=True)
    [known] = await infos(broker, request.app, [(name, (SUBSCRIPTION_COUNT, *attributes))])
    answer: dict[str, object] = {"occupied": known[SUBSCRIPTION_COUNT] > 0}
    answer |= {key: value for key, value in known.items() if key in attributes}
    if CACHE in attributes:
        cached = await broker.cached(topic_of(request.app.id, name))
        answer[CACHE] = cached and {"data": cached.data, "ttl": ceil(cached.ttl)}
    return answer


async def list_users(request: SignedRequest) -> object:
    """Answer ``GET channels/<name>/users``: each user of a presence channel once."""
    request.forbid_others()
    name = check_channel_name(request.app, request.call[1])
    if not is_presence(name):
        raise ApiError(400, "Cannot retrieve the users unless the channel is a presence channel")
    broker = open_broker(for_presence=True)
    members = await broker.presence.members(topic_of(request.app.id, name))
    return {"users": [{"id": user_id} for user_id in members.infos]}


def parse_info(value: object) -> tuple[str, ...]:
    """Return the attributes that `value`, a text with commas, asks for."""
    if value is None:
        return ()
    if not isinstance(value, str):
        raise ApiError(400, "info is not a string such as 'user_count,subscription_count'")
    names = [name.strip() for name in value.split(",") if name.strip()]
    for name in names:
        if name not in ATTRIBUTES:
            raise ApiError(400, f"info may ask for {', '.join(ATTRIBUTES)}, not {shown(name)}")
    return tuple(dict.fromkeys(names))


def open_broker(*, for_presence: bool) -> Broker:
    """
    Return the broker that messages are published through, and that knows who is subscribed.

    Raise `ApiError` where this process would publish to nobody, or, if `for_presence`,
    does not know who is subscribed. The process may be that of a site under WSGI.
    """
    broker = get_broker()
    if is_serving_here():
        return broker
    if not broker.is_shared:
        raise ApiError(
            503,
            "This process serves no sockets, so nobody would receive the event. Serve the site's "
            "ASGI application: with daphne first in INSTALLED_APPS, runserver does.",
        )
    if for_presence and not broker.presence.is_shared:
        raise ApiError(
            503,
            "This process serves no sockets, and its connection does not share who is "
            "subscribed. Ask a process that serves sockets, or use a redis connection.",
        )
    return broker


async def infos(
    broker: Broker, app: Application, wanted: Iterable[tuple[str, Sequence[str]]]
) -> list[Info]:
    """
    Return the attributes of channels that are `wanted`, in that order.

    Attributes that do not fit a channel are left out.
    """
    fitting = [
        (topic_of(app.id, channel), [name for name in attributes if _fits(name, channel)])
        for channel, attributes in wanted
    ]
    topics = {topic for topic, attributes in fitting if attributes}
    sizes = await broker.presence.sizes(sorted(topics)) if topics else {}
    return [_info(sizes.get(topic, (0, 0)), attributes) for topic, attributes in fitting]


def _info(size: tuple[int, int], attributes: Sequence[str]) -> Info:
    values: Mapping[str, int] = {SUBSCRIPTION_COUNT: size[0], USER_COUNT: size[1]}
    return {name: values[name] for name in attributes}


def _fits(attribute: str, channel: str) -> bool:
    if attribute == CACHE or is_user_channel(channel):  # Whether a user is there is private.
        return False
    return attribute != USER_COUNT or is_presence(channel)
