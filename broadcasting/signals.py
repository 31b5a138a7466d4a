"""
Signals of Django for what happens on the sockets and to what is sent.

Signals of the server are sent in processes that serve sockets, by one task of each, in the
order in which things happened there: those of a connection by the process that holds the
socket, those of channels and members by one process of the cluster, the one that notices the
change. Sockets do not wait for receivers, so a change may be over when its signal arrives. A
slow receiver delays the signals after it. When ten thousand wait, newer ones are dropped and
this is logged.

A receiver may be a coroutine function, which runs on the server's event loop, or a
function, which runs in a thread kept for receivers and may use the database. Exceptions of
receivers are logged by ``django.dispatch`` and have no other effect. `sender` is `None`.
Take ``**kwargs``: arguments may be added.

A page that is reloaded leaves and comes back. So, as with webhooks, `channel_vacated` and
`member_removed` are sent three seconds late, and not at all if the channel or user is back
by then.

`broadcast_sent` and `broadcast_failed` are sent where a driver was called: in the thread
that fired the event, or in a queue's worker. A slow receiver delays that thread. Exceptions
of receivers are logged here, too.
"""

from django.dispatch import Signal

# Arguments: app_id, socket_id.
connection_opened = Signal()

# Arguments: app_id, socket_id, code (of the close; `None` if there was none).
connection_closed = Signal()

# The first subscriber came, the last one left. Arguments: app_id, channel.
channel_occupied = Signal()
channel_vacated = Signal()

# A user's first connection joined a presence channel, the last one left it.
# Arguments: app_id, channel, user_id (text).
member_added = Signal()
member_removed = Signal()

# A driver sent an event. Arguments: event (its name), channels (a tuple of full names),
# connection (its alias).
broadcast_sent = Signal()

# A driver failed to send an event and it is not tried again. Arguments: event, channels (those
# that are without it), connection, exception.
broadcast_failed = Signal()
