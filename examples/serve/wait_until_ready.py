"""Wait until a server answers with 200: ``python wait_until_ready.py URL``. It ends with 1 after two minutes."""

from __future__ import annotations

import sys
import time
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

SECONDS = 120


def wait(url: str, seconds: float) -> bool:
    """Whether the server answers within so many seconds."""
    opener = build_opener(ProxyHandler({}))  # without a proxy that the environment may name
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            opener.open(url, timeout=5)
            return True
        except (URLError, TimeoutError, ConnectionError):  # a status other than 200 is one, too
            time.sleep(0.2)
    return False


if __name__ == "__main__":
    sys.exit(0 if wait(sys.argv[1], SECONDS) else f"{sys.argv[1]} does not answer")
