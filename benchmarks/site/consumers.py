"""Broadcasting as one writes it with Channels alone: a consumer in a group."""

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

GROUP = "bench"


class StockConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]  # channels ships no types
    """``{"join": "bench"}`` to receive, ``{"publish": text}`` to send."""

    async def receive_json(self, content: dict[str, Any], **kwargs: object) -> None:
        """Join the group, or send to it."""
        if "publish" in content:
            await self.channel_layer.group_send(
                GROUP, {"type": "bench.message", "data": content["publish"]}
            )
            return
        if content["join"] is not None:
            await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.send_json({"joined": content["join"]})

    async def disconnect(self, code: int) -> None:
        """Leave the group."""
        await self.channel_layer.group_discard(GROUP, self.channel_name)

    async def bench_message(self, message: dict[str, Any]) -> None:
        """Send what the group was sent."""
        await self.send_json({"event": "bench", "channel": GROUP, "data": message["data"]})
