"""A port of this machine that nobody listens on."""

import socket


def free_port() -> int:
    """Ask the system for one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
