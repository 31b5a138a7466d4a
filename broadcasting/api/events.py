"""The HTTP API's calls that publish: ``events``, ``batch_events``, ``terminate_connections``."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..applications import Application
from ..drivers.base import CONTROL, TERMINATE, Broker
from ..exceptions import BroadcastError
from ..protocol.messages import Message, decode, encode, topic_of
from ..protocol.names import (
    MAX_EVENT_LENGTH,
    is_event_name,
    is_publishable,
    is_socket_id,
    is_user_channel,
    is_user_id,
    is_utf8,
)
from ..server.hubs import find_hub
from .channels import infos, open_broker, parse_info
from .request import ApiError, SignedRequest, check_channel_name, shown

MAX_CHANNELS = 100
MAX_BATCH = 10
# Beside its data a request names at most a hundred channels of two hundred characters.
# A character of data may take six bytes of JSON (\\u0000).
ENVELOPE = 40_000
BYTES_PER_CHARACTER = 6

# Fields of the body. Ignored in the query, an event might reach a socket that it must not.
_IN_BODY = {"name", "data", "channel", "channels", "socket_id", "info", "batch"}

# What is answered about one message: attributes of its channel, or an ``error``.
Entry = dict[str, object]

logger = logging.getLogger("broadcasting.server")


class PartlyPublished(Exception):
    """
    Raised when the bus has accepted some messages of a request and refused others.

    Attributes:
        answer: As if all had been accepted, with an ``error`` in place of what was not.
    """

    def __init__(self, answer: Mapping[str, object]) -> None:
        super().__init__(answer["error"])
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Event:
    """
    One valid event of a request.

    Attributes:
        messages: One for each of its channels.
        attributes: What the caller wants to know of each channel.
    """

    messages: tuple[Message, ...]
    attributes: tuple[str, ...]


def max_event_body(app: Application) -> int:
    """Return the number of bytes that one event may take as JSON."""
    return app.max_event_size * BYTES_PER_CHARACTER + ENVELOPE


def max_batch_body(app: Application) -> int:
    """Return the number of bytes that a batch of events may take as JSON."""
    return MAX_BATCH * app.max_event_size * BYTES_PER_CHARACTER + ENVELOPE


async def post_event(request: SignedRequest) -> object:
    """Answer ``POST events``: one event on up to a hundred channels."""
    body = _body(request)
    event = _event(request.app, body, _channels(request.app, body))
    entries = await _publish(request.app, [event])
    names = [message.channel for message in event.messages]
    return _answer("channels", dict(zip(names, entries, strict=True)), entries, [event])


async def post_batch(request: SignedRequest) -> object:
    """Answer ``POST batch_events``: up to ten events, each on one channel."""
    batch = _body(request).get("batch")
    if not isinstance(batch, list) or not 1 <= len(batch) <= MAX_BATCH:
        raise ApiError(400, f"batch must be a list of 1 to {MAX_BATCH} events")
    events = []
    for number, value in enumerate(batch):
        try:
            events.append(_batched(request.app, value))
        except ApiError as error:
            raise ApiError(error.status, f"batch[{number}]: {error}") from None
    entries = await _publish(request.app, events)
    return _answer("batch", entries, entries, events)


async def terminate(request: SignedRequest) -> object:
    """Answer ``POST users/<id>/terminate_connections``, also for a user who is not connected."""
    _forbid_in_query(request)
    user_id = request.call[1]
    if not is_user_id(user_id):
        raise ApiError(400, f"{shown(user_id)} is not a valid user id")
    message = Message(topic_of(request.app.id, CONTROL), TERMINATE, encode(user_id))
    await open_broker(for_presence=False).publish(message)
    return {}


async def _publish(app: Application, events: Sequence[Event]) -> list[Entry]:
    """
    Publish all messages in order, and return what is answered about each.

    Raise `BroadcastError` if nothing was published.
    """
    broker = open_broker(for_presence=any(event.attributes for event in events))
    messages = [message for event in events for message in event.messages]
    errors = await _publish_each(broker, messages)
    if all(errors):
        raise next(error for error in errors if error)
    wanted = [(message.channel, event.attributes) for event in events for message in event.messages]
    try:
        known = await infos(broker, app, wanted)
    except BroadcastError as exc:
        # An error would make callers send again what has been published.
        logger.warning("Events were published, but their channels cannot be counted: %s", exc)
        known = [{} for _ in wanted]
    return [
        {"error": str(error)} if error else {**info}
        for error, info in zip(errors, known, strict=True)
    ]


def _answer(
    key: str, value: object, entries: Sequence[Entry], events: Sequence[Event]
) -> Mapping[str, object]:
    """Return what is answered under `key`. Raise `PartlyPublished` if an entry has an error."""
    if refused := sum("error" in entry for entry in entries):
        error = f"{refused} of {len(entries)} messages were not published"
        raise PartlyPublished({"error": error, key: value})
    return {key: value} if any(event.attributes for event in events) else {}


async def _publish_each(broker: Broker, messages: Sequence[Message]) -> list[BroadcastError | None]:
    """Publish each message, and return why it was refused, `None` where it was not."""

    async def publish(message: Message) -> BroadcastError | None:
        try:
            await broker.publish(message)
        except BroadcastError as exc:
            return exc
        return None

    hub, begin = find_hub(), time.monotonic()
    stats = hub.stats if hub is not None else None
    if stats is not None:
        stats.publishing += len(messages)
    try:
        # The tasks begin in this order, and so do their messages.
        errors = await asyncio.gather(*map(publish, messages))
    finally:
        if stats is not None:
            stats.publishing -= len(messages)
    if stats is not None and (published := errors.count(None)):
        stats.published["api"] += published
        stats.publish_seconds.observe(time.monotonic() - begin)
    return errors


def _batched(app: Application, value: object) -> Event:
    fields = _object(value, "It")
    if fields.get("channels") is not None:
        raise ApiError(400, "An event of a batch has one channel, not channels")
    return _event(app, fields, [_channel(app, fields)])


def _event(app: Application, value: Mapping[str, object], channels: Sequence[str]) -> Event:
    name, data, socket_id = value.get("name"), value.get("data"), value.get("socket_id")
    if not is_event_name(name):
        raise ApiError(
            400,
            f"name is not a valid event name: a string of 1 to {MAX_EVENT_LENGTH} characters "
            f"that does not begin with pusher: or pusher_internal:",
        )
    if not isinstance(data, str) or not is_utf8(data):
        raise ApiError(400, "data is not a string")
    if len(data.encode()) > app.max_event_size:
        raise ApiError(
            413,
            f"The data content of this event exceeds the allowed maximum "
            f"({app.max_event_size} bytes)",
        )
    if socket_id is not None and not is_socket_id(socket_id):
        raise ApiError(400, f"socket_id {shown(socket_id)} is not valid")
    messages = (Message(topic_of(app.id, channel), name, data, socket_id) for channel in channels)
    return Event(tuple(messages), parse_info(value.get("info")))


def _channels(app: Application, value: Mapping[str, object]) -> list[str]:
    """Return the distinct channels of an event, from ``channels`` or ``channel``."""
    channels, channel = value.get("channels"), value.get("channel")
    if channels is None:
        return [_channel(app, value)]
    if channel is not None:
        raise ApiError(400, "channel and channels are both given")
    if not isinstance(channels, list) or not 1 <= len(channels) <= MAX_CHANNELS:
        raise ApiError(400, f"channels must be a list of 1 to {MAX_CHANNELS} names")
    return list(dict.fromkeys(_channel_name(app, name) for name in channels))


def _channel(app: Application, value: Mapping[str, object]) -> str:
    name = value.get("channel")
    if name is None:
        raise ApiError(400, "No channel is given")
    return _channel_name(app, name)


def _channel_name(app: Application, name: object) -> str:
    # The channel of a user is as long as the user's id makes it.
    if is_publishable(name) and is_user_channel(name):
        return name
    return check_channel_name(app, name)


def _body(request: SignedRequest) -> Mapping[str, object]:
    _forbid_in_query(request)
    try:
        value = decode(request.body)
    except ValueError:
        raise ApiError(400, "The body is not JSON") from None
    return _object(value, "The body")


def _object(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ApiError(400, f"{what} is not a JSON object")
    return value


def _forbid_in_query(request: SignedRequest) -> None:
    for name in request.parameters:
        if name in _IN_BODY:
            raise ApiError(400, f"{name} belongs in the body, not in the query string")
