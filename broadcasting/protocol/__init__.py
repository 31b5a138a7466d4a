"""
The Pusher Channels protocol, version 7, as a sans-I/O library.

Text and time go in; frames and actions come out. Nothing in this package knows
about Django, asyncio, a clock or settings, so that the same state machine runs
behind every adapter and can be tested without a socket.

The documents followed are Pusher's "Channels protocol" (close codes and frames),
"HTTP API reference" (request signatures) and, where they are silent, the
behaviour of pusher-js 8.
"""
