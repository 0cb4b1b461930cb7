"""Routes that change what is served are for programs on this machine."""

from __future__ import annotations

from ipaddress import ip_address

from edgepipe.serve.call import RefusedError
from edgepipe.serve.endpoint import Context


def require_loopback(context: Context) -> None:
    """Refuse who asks from another machine, or through a proxy, whose address says nothing.

    Raises:
        RefusedError: that is so.
    """
    forwarded = any(name in context.headers for name in ("x-forwarded-for", "forwarded", "x-real-ip"))
    if forwarded or not _is_loopback(context.client):
        raise RefusedError(403, "models are loaded and unloaded from the server's own machine alone (127.0.0.1)")


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == ""  # a Unix socket
