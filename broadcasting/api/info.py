"""What the HTTP API tells of channels: how many sockets and users, and what is cached."""

from collections.abc import Iterable, Mapping, Sequence

from ..applications import Application
from ..drivers.base import Broker, is_serving_here
from ..drivers.registry import get_broker
from ..protocol.messages import topic_of
from ..protocol.names import is_presence, is_user_channel
from .request import ApiError, shown

SUBSCRIPTION_COUNT = "subscription_count"
USER_COUNT = "user_count"
CACHE = "cache"
ATTRIBUTES = (SUBSCRIPTION_COUNT, USER_COUNT, CACHE)

Info = dict[str, int]


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
    Return what messages are published through, and who is there is learned from.

    Raise `ApiError` where this process would publish to nobody, or, if `for_presence`,
    knows nothing of the sockets: it may be that of a site under WSGI.
    """
    broker = get_broker()
    if is_serving_here():
        return broker
    if not broker.is_shared:
        raise ApiError(
            503,
            "This process serves no sockets, so nobody would hear of it. Serve the site's "
            "ASGI application: with daphne first in INSTALLED_APPS, runserver does.",
        )
    if for_presence and not broker.presence.is_shared:
        raise ApiError(
            503,
            "This process serves no sockets, and its connection does not share who is on "
            "them. Ask a process that serves them, or use a redis connection.",
        )
    return broker


async def infos(
    broker: Broker, app: Application, wanted: Iterable[tuple[str, Sequence[str]]]
) -> list[Info]:
    """
    Return what is `wanted`, attributes of channels, in that order.

    Attributes that do not fit a channel are left out.
    """
    fitting = [
        (channel, [name for name in attributes if _fits(name, channel)])
        for channel, attributes in wanted
    ]
    topics = {topic_of(app.id, channel) for channel, attributes in fitting if attributes}
    sizes = await broker.presence.sizes(sorted(topics)) if topics else {}
    return [
        _info(sizes.get(topic_of(app.id, channel), (0, 0)), attributes)
        for channel, attributes in fitting
    ]


def _info(size: tuple[int, int], attributes: Sequence[str]) -> Info:
    values: Mapping[str, int] = {SUBSCRIPTION_COUNT: size[0], USER_COUNT: size[1]}
    return {name: values[name] for name in attributes}


def _fits(attribute: str, channel: str) -> bool:
    # Who a user's sockets are is nobody's business but the user's.
    if attribute == CACHE or is_user_channel(channel):
        return False
    return attribute != USER_COUNT or is_presence(channel)
