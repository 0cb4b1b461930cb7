"""Who may change what is served."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edgepipe.serve.call import RefusedError
from edgepipe.serve.protocols.loopback import require_loopback


def context(client: str, **headers: str) -> Any:
    return SimpleNamespace(client=client, headers=headers)


@pytest.mark.parametrize("client", ["127.0.0.1", "127.1.2.3", "::1", ""])
def test_this_machine_may(client: str) -> None:
    require_loopback(context(client))


@pytest.mark.parametrize("client", ["10.0.0.1", "::2", "0.0.0.0", "localhost", "testclient"])
def test_others_may_not(client: str) -> None:
    with pytest.raises(RefusedError, match="own machine alone") as refused:
        require_loopback(context(client))
    assert refused.value.status == 403


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip"])
def test_a_proxy_may_not(header: str) -> None:
    with pytest.raises(RefusedError):
        require_loopback(context("127.0.0.1", **{header: "127.0.0.1"}))
