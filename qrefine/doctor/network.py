"""Whether anything listens at an address."""

from __future__ import annotations

import socket

CONNECT_S = 10.0


def refusal(host: str, port: int) -> str | None:
    """Why no TCP connection to a host is made within CONNECT_S; None where one is."""
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return None
