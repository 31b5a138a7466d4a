"""Say in one line that a port is taken; runserver would log it and wait: check_port.py PORT."""

import socket
import sys

port = int(sys.argv[1])
with socket.socket() as probe:
    # As servers do: a connection that has just ended does not hold the port.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(("127.0.0.1", port))
    except OSError as exc:
        sys.exit(f"Port {port} cannot be used ({exc.strerror}): make run PORT={port + 1}")
