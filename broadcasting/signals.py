"""
What happens on the sockets and to what is sent, as Django signals.

Those of the server are sent in processes that serve sockets, from one task of each, in
the order in which things happened there: connections by the process that holds the
socket, channels and members by one process of the cluster, whichever takes note of the
change. The sockets do not wait for receivers, so what a signal tells of may be over when
it arrives. A slow receiver delays the signals after it; when ten thousand wait, newer ones
are dropped with a line in the log.

A receiver may be a coroutine function, which runs on the server's event loop, or a
function, which runs in a thread kept for receivers and may use the database. What it
raises is logged by ``django.dispatch`` and disturbs nothing else. `sender` is `None`.
Take ``**kwargs``: arguments may be added.

A socket that reloads its page leaves and comes back: as with webhooks,
`channel_vacated` and `member_removed` come three seconds late, and not at all if the
channel or user is back by then.

`broadcast_sent` and `broadcast_failed` are sent where a driver was called: in the thread
that fired the event, or that of a queue's worker. There a slow receiver is waited for;
without receivers they cost nothing. What a receiver raises is logged, too.
"""

from django.dispatch import Signal

# Arguments: app_id, socket_id.
connection_opened = Signal()

# Arguments: app_id, socket_id, code (of the close; `None` if there was none).
connection_closed = Signal()

# Its first subscriber came, its last one left. Arguments: app_id, channel.
channel_occupied = Signal()
channel_vacated = Signal()

# A user's first connection joined a presence channel, the last one left it.
# Arguments: app_id, channel, user_id (text).
member_added = Signal()
member_removed = Signal()

# A driver took an event. Arguments: event (its name), channels (a tuple of full names),
# connection (its alias).
broadcast_sent = Signal()

# A driver did not take an event, for good. Arguments: event, channels (those that are
# without it), connection, exception.
broadcast_failed = Signal()
