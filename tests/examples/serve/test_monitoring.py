"""``examples/serve``: what Prometheus reads and the dashboard shows are metrics that a server has.

Where a ``prometheus`` is (Debian's package of that name), it reads a real server, and has results for each query.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import REPOSITORY
from tests.examples.serve.image import read_dockerfile
from tests.examples.servers import free_port
from tests.interop.environments import make
from tests.packaging.conftest import checked
from tests.runtime.serve.running_server import RunningServer

EXAMPLE = REPOSITORY / "examples" / "serve"
GRAFANA = EXAMPLE / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "edgepipe.json").read_text(encoding="utf-8"))
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
CONFIG = yaml.safe_load((EXAMPLE / "prometheus.yml").read_text(encoding="utf-8"))
COMPOSE = yaml.safe_load((EXAMPLE / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
SOURCE = yaml.safe_load((GRAFANA / "datasources" / "prometheus.yml").read_text(encoding="utf-8"))["datasources"][0]
# Prints the names of metrics in each query, as PromQL's grammar has them.
PARSE = """
import json, sys, promql_parser
def walk(node):
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector"):
        if isinstance(child := getattr(node, name, None), promql_parser.Expr):
            yield from walk(child)
    for child in getattr(node, "args", None) or ():
        yield from walk(child)
found = []
for query in json.load(sys.stdin):
    nodes = list(walk(promql_parser.parse(query)))
    names = [node.name for node in nodes if isinstance(node, promql_parser.VectorSelector)]
    found.append(names)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def asked(server: RunningServer) -> RunningServer:
    """A server that has answered, and refused."""
    ask(server)
    return server


def ask(server: RunningServer) -> None:
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["I love this"]}]}
    assert httpx.post(f"{server.url}/v2/models/sentiment/infer", json=body).status_code == 200
    assert httpx.post(f"{server.url}/v2/models/sentiment/infer", json={}).status_code == 400


def names_of(query: str) -> set[str]:
    return set(re.findall(r"\bedgepipe_\w+", query))


def test_the_dashboard_names_metrics_that_a_server_has(asked: RunningServer) -> None:
    page = httpx.get(f"{asked.url}/metrics").text
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    assert len(QUERIES) >= 10
    for query in QUERIES:
        named = names_of(query)
        assert named, query
        assert named <= set(labels), query
        summed = {name.strip() for group in re.findall(r"by \(([^)]*)\)", query) for name in group.split(",")}
        selected = set(re.findall(r"[{,](\w+)[=!]", query))
        for name in named:
            assert summed | selected <= labels[name], query


def test_the_dashboard_shows_every_metric(asked: RunningServer) -> None:
    page = httpx.get(f"{asked.url}/metrics").text
    families = {
        family.name
        for family in text_string_to_metric_families(page)
        if family.name.startswith("edgepipe_") and not family.name.endswith("_created")
    }
    shown = {name for query in QUERIES for name in names_of(query)}
    assert {family for family in families if not any(name.startswith(family) for name in shown)} == set()


def test_the_legends_have_labels_that_the_queries_leave() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            summed = {
                name.strip() for each in re.findall(r"by \(([^)]*)\)", target["expr"]) for name in each.split(",")
            }
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= summed, target


def test_the_panels_have_places_of_their_own() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_each_asks_the_other_where_compose_has_it() -> None:
    [job] = CONFIG["scrape_configs"]
    [target] = job["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert host in COMPOSE
    assert port == dict(read_dockerfile(EXAMPLE / "Dockerfile"))["EXPOSE"]
    assert SOURCE["url"] == "http://prometheus:9090"
    assert "127.0.0.1:9090:9090" in COMPOSE["prometheus"]["ports"]
    assert SOURCE["jsonData"]["timeInterval"] == CONFIG["global"]["scrape_interval"]
    [provider] = yaml.safe_load((GRAFANA / "dashboards" / "provider.yml").read_text(encoding="utf-8"))["providers"]
    assert provider["options"]["path"] in {volume.split(":")[1] for volume in COMPOSE["grafana"]["volumes"]}
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["query"] == SOURCE["type"]
    for panel in DASHBOARD["panels"]:
        assert {each["datasource"]["uid"] for each in [panel, *panel["targets"]]} == {"${datasource}"}


@pytest.mark.environments
def test_promql_s_grammar_takes_the_queries() -> None:
    python = make(REPOSITORY / "tests" / "examples" / "serve" / ".venv-promql", ["promql-parser==0.12.0"])
    queries = [query.replace("$__rate_interval", "1m") for query in QUERIES]
    found = json.loads(checked([python, "-c", PARSE], input=json.dumps(queries)))
    assert [set(names) for names in found] == [names_of(query) for query in QUERIES]


@pytest.mark.environments
def test_grafana_s_own_types_have_every_name_of_the_dashboard() -> None:
    """What Grafana's package for dashboards does not know is lost on the way through it."""
    python = make(
        REPOSITORY / "tests" / "examples" / "serve" / ".venv-grafana", ["grafana-foundation-sdk==1769699998!10.1.0"]
    )
    program = (
        "import json, sys; from grafana_foundation_sdk.models.dashboard import Dashboard; "
        "from grafana_foundation_sdk.cog.encoder import JSONEncoder; "
        "from grafana_foundation_sdk.cog.plugins import register_default_plugins; register_default_plugins(); "
        "print(json.dumps(Dashboard.from_json(json.load(sys.stdin)), cls=JSONEncoder))"
    )
    back = json.loads(checked([python, "-c", program], input=json.dumps(DASHBOARD)))
    assert not list(lost(DASHBOARD, back))


def lost(given: Any, back: Any, place: str = "") -> Iterator[str]:
    """Places of the first that the second has not, or with another value."""
    if isinstance(given, dict) and isinstance(back, dict):
        for name, value in given.items():
            yield from lost(value, back.get(name), f"{place}.{name}")
    elif isinstance(given, list) and isinstance(back, list) and len(given) == len(back):
        for number, (one, other) in enumerate(zip(given, back, strict=True)):
            yield from lost(one, other, f"{place}[{number}]")
    elif given != back:
        yield place


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool")
def test_promtool_takes_the_config() -> None:
    checked(["promtool", "check", "config", EXAMPLE / "prometheus.yml"])


@pytest.fixture(scope="module")
def prometheus(asked: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with the config, but the address of this server, and more often."""
    folder = tmp_path_factory.mktemp("prometheus")
    port = free_port()
    config = json.loads(json.dumps(CONFIG))
    config["global"]["scrape_interval"] = "1s"
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [asked.url.removeprefix("http://")]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.txt").open("wb") as output:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=output, stderr=output)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=60)


def results(prometheus: str, query: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", answer
    return list(answer["data"]["result"])


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="there is no prometheus")
def test_prometheus_has_results_for_every_query(asked: RunningServer, prometheus: str) -> None:
    queries = [query.replace("$__rate_interval", "1m") for query in QUERIES]
    deadline = time.monotonic() + 60
    without = queries
    while without and time.monotonic() < deadline:
        ask(asked)
        time.sleep(0.5)
        try:
            without = [
                query for query in queries
                if not any(each["value"][1] != "NaN" for each in results(prometheus, query))
            ]  # fmt: skip
        except httpx.TransportError:  # it starts
            continue
    assert not without
    targets = httpx.get(f"{prometheus}/api/v1/targets").json()["data"]["activeTargets"]
    assert [(each["health"], each["lastError"]) for each in targets] == [("up", "")]


def test_the_queries_are_those_of_prometheus_alone() -> None:
    assert not [query for query in QUERIES if re.search(r"\$(?!__rate_interval)", query)]
