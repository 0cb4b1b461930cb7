"""The description of the routes is one, and the routes are as it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openapi_spec_validator
import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from edgepipe.serve.app import PROTOCOLS
from edgepipe.serve.openapi import describe
from edgepipe_models import default_bundle
from tests.runtime.serve.running_server import RunningServer, serve_bundles

DESCRIPTION = describe(PROTOCOLS)

# Routes that change what other tests ask of, and one that is text for Prometheus.
LEFT_OUT = r"^/(admin|v2/repository)|/metrics"


def test_it_is_valid() -> None:
    openapi_spec_validator.validate(DESCRIPTION)


def test_every_route_is_in_it() -> None:
    for protocol in PROTOCOLS:
        for operation in protocol.operations:
            assert operation.method.lower() in DESCRIPTION["paths"][operation.path]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with serve_bundles(f"sst2={default_bundle()}") as running:
        yield running


def test_the_server_gives_it(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/openapi.json").json() == DESCRIPTION


schema = schemathesis.openapi.from_dict(DESCRIPTION).exclude(path_regex=LEFT_OUT)


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_schemathesis_sends(case: Any, server: RunningServer) -> None:
    """No server error, no answer of another form than is described, whatever is sent."""
    response = case.call(base_url=server.url, timeout=60)
    assert response.status_code < 500, (case, response.text)
    assert response.status_code in {200, 400, 401, 403, 404, 405, 413, 422, 424, 429}
    case.validate_response(
        response,
        checks=[
            schemathesis.checks.not_a_server_error,
            schemathesis.specs.openapi.checks.status_code_conformance,
            schemathesis.specs.openapi.checks.content_type_conformance,
            schemathesis.specs.openapi.checks.response_schema_conformance,
        ],
    )
