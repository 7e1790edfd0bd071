"""Whether a server listens at an address."""

from __future__ import annotations

import socket

CONNECT_S = 10.0


def refusal(host: str, port: int) -> str | None:
    """Why a TCP connection fails within CONNECT_S seconds; None if it succeeds."""
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return None
