"""A hub on the loopback interface with one bundle, and downloads from it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edgepipe import Bundle
from tests.chaos.exporters import NAMES, Exporter
from tests.chaos.run import wait
from tests.runtime.loopback_hub import Hub

REPOSITORY = "some/bundle"


@contextmanager
def serve(exporter: Exporter, folder: Path) -> Iterator[str]:
    """Publish a bundle as long as the block lasts; the hub's address."""
    published = folder / "published"
    wait(exporter.start(NAMES[1], published))
    hub = Hub()
    hub.add(REPOSITORY, published)
    with hub.serving():
        yield hub.url


def download(url: str, cache: Path, digests: Mapping[str, str]) -> None:
    """Load the bundle from a hub into a cache, and check it; damage is an AssertionError, or what edgepipe raises."""
    os.environ.update(HF_HUB_DISABLE_TELEMETRY="1")
    from huggingface_hub import constants

    constants.ENDPOINT, constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE = url, str(cache), False
    constants.HUGGINGFACE_CO_URL_TEMPLATE = url + "/{repo_id}/resolve/{revision}/{filename}"
    bundle = Bundle.load(REPOSITORY)
    bundle.check()
    assert bundle.digest in digests, bundle.digest
