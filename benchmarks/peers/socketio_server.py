"""python-socketio as its documents show it: socketio_server.py PORT. Runs in its own venv."""

import sys

import socketio  # type: ignore[import-not-found]  # installed beside the peers only
import uvicorn

server = socketio.AsyncServer(async_mode="asgi")


@server.event  # type: ignore[untyped-decorator]
async def join(sid: str, room: str) -> None:
    """Add a client to a room."""
    await server.enter_room(sid, room)
    await server.emit("joined", to=sid)


@server.event  # type: ignore[untyped-decorator]
async def publish(sid: str, data: str) -> None:
    """Send to the room."""
    await server.emit("bench", {"channel": "bench", "data": data}, room="bench")


uvicorn.run(
    socketio.ASGIApp(server),
    host="127.0.0.1",
    port=int(sys.argv[1]),
    log_level="warning",
    access_log=False,
    ws_per_message_deflate=False,
)
