"""``examples/serve``: Kubernetes', KServe's and compose's files, by their schemas, and beside a server that runs."""

from __future__ import annotations

import copy
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import yaml

from edgepipe import __version__
from edgepipe.serve.server import DRAIN
from tests.conftest import REPOSITORY
from tests.examples.serve.image import read_dockerfile
from tests.examples.serve.kserve_schemas import SCHEMAS
from tests.interop.environments import make
from tests.packaging.conftest import checked
from tests.runtime.serve.running_server import RunningServer, serve_bundles

EXAMPLE = REPOSITORY / "examples" / "serve"
DOCKERFILE = dict(read_dockerfile(EXAMPLE / "Dockerfile"))
PORT = int(DOCKERFILE["EXPOSE"])
# Folders of KServe's own definitions: config/crd/full of its repository.
DEFINITIONS = os.environ.get("KSERVE_DEFINITIONS", "")


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLE / name).read_text(encoding="utf-8")))


def of_kind(name: str, kind: str) -> dict[str, Any]:
    [found] = [each for each in documents(name) if each["kind"] == kind]
    return found


POD = of_kind("kubernetes.yaml", "Deployment")["spec"]["template"]["spec"]
RUNTIME = of_kind("kserve.yaml", "ServingRuntime")["spec"]
PODS = pytest.mark.parametrize("pod", [POD, RUNTIME], ids=["kubernetes", "kserve"])


def validate(document: dict[str, Any]) -> None:
    """By Kubernetes' own schema, of the newest version that the package has; unknown names are errors."""
    validator = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    validator.validate(document, validator.latest_version(), strict=True)


@pytest.mark.parametrize("kind", ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"])
def test_kubernetes_takes(kind: str) -> None:
    validate(of_kind("kubernetes.yaml", kind))


def test_a_misspelt_name_is_found() -> None:
    document = copy.deepcopy(of_kind("kubernetes.yaml", "Deployment"))
    document["spec"]["template"]["spec"]["containers"][0]["readinessProb"] = {}
    with pytest.raises(Exception, match="readinessProb"):
        validate(document)


def test_kubernetes_takes_the_containers_that_kserve_makes_pods_of() -> None:
    pod = {name: RUNTIME[name] for name in ("containers", "volumes")}
    validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "edgepipe"}, "spec": pod})


@pytest.mark.parametrize("kind", list(SCHEMAS))
def test_kserve_takes(kind: str) -> None:
    document = of_kind("kserve.yaml", kind)
    jsonschema.validate(document, SCHEMAS[kind])
    document["spec"]["unknown"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMAS[kind])


@pytest.mark.skipif(not DEFINITIONS, reason="KSERVE_DEFINITIONS names no folder of KServe's definitions")
@pytest.mark.parametrize("kind", list(SCHEMAS))
def test_kserve_s_own_definition_takes(kind: str) -> None:
    document = of_kind("kserve.yaml", kind)
    file = Path(DEFINITIONS) / f"serving.kserve.io_{kind.lower()}s.yaml"
    versions = yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader)["spec"]["versions"]
    [schema] = [
        each["schema"]["openAPIV3Schema"]
        for each in versions
        if each["name"] == document["apiVersion"].partition("/")[2]
    ]
    jsonschema.validate(document, close(schema))


def close(schema: Any) -> Any:
    """The same schema that takes no name that it does not have."""
    if isinstance(schema, list):
        return [close(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: close(value) for name, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and "type" in schema and not is_open and schema["properties"]:
        found["additionalProperties"] = False
    return found


@PODS
def test_pods_run_the_image_as_it_is_made(pod: dict[str, Any]) -> None:
    [container] = pod["containers"]
    assert container["image"] == f"edgepipe-serve:{__version__}"
    assert [port["containerPort"] for port in container["ports"]] == [PORT]
    security = {**pod.get("securityContext", {}), **container["securityContext"]}
    assert security["runAsNonRoot"]
    assert str(security["runAsUser"]) == DOCKERFILE["USER"].partition(":")[0]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    [tmp] = [volume for volume in pod["volumes"] if volume["name"] == mounts["/tmp"]]
    assert tmp["emptyDir"]["medium"] == "Memory"
    assert container["resources"]["limits"]["cpu"] == container["resources"]["requests"]["cpu"]


@PODS
def test_probes_ask_what_a_server_answers(pod: dict[str, Any], server: RunningServer) -> None:
    [container] = pod["containers"]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    for probe in probes.values():
        assert httpx.get(f"{server.url}{probe['path']}").status_code == 200
        assert probe["port"] in (PORT, "http")
    assert probes["readiness"]["path"] != probes["liveness"]["path"], "a pod that drains is not to be killed"


def test_kubernetes_waits_until_everything_is_answered() -> None:
    [container] = POD["containers"]
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert POD["terminationGracePeriodSeconds"] > DRAIN + pause


def test_the_service_and_the_scaler_find_the_pods() -> None:
    labels = of_kind("kubernetes.yaml", "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert of_kind("kubernetes.yaml", "Service")["spec"]["selector"] == labels
    [port] = of_kind("kubernetes.yaml", "Service")["spec"]["ports"]
    assert port["targetPort"] == POD["containers"][0]["ports"][0]["name"]
    target = of_kind("kubernetes.yaml", "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target["name"] == of_kind("kubernetes.yaml", "Deployment")["metadata"]["name"]


@pytest.fixture(scope="module")
def inference_service(bundle: Path) -> Iterator[RunningServer]:
    """As KServe starts it: its own name in the place of the template, and the bundle at ``/mnt/models``."""
    name = of_kind("kserve.yaml", "InferenceService")["metadata"]["name"]
    [argument] = RUNTIME["containers"][0]["args"]
    with serve_bundles(argument.replace("{{.Name}}", name).replace("/mnt/models", str(bundle))) as running:
        yield running


def test_kserve_s_routes_answer_under_the_service_s_name(inference_service: RunningServer) -> None:
    service = of_kind("kserve.yaml", "InferenceService")
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == of_kind("kserve.yaml", "ServingRuntime")["metadata"]["name"]
    assert model["modelFormat"]["name"] in {each["name"] for each in RUNTIME["supportedModelFormats"]}
    assert model["protocolVersion"] in RUNTIME["protocolVersions"]
    name = service["metadata"]["name"]
    for path in ("/v2/health/live", "/v2/health/ready", f"/v2/models/{name}", f"/v2/models/{name}/ready"):
        assert httpx.get(f"{inference_service.url}{path}").status_code == 200, path
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["I love this"]}]}
    answer = httpx.post(f"{inference_service.url}/v2/models/{name}/infer", json=body).json()
    assert answer["outputs"][1]["data"] == ["POSITIVE"]


COMPOSE = yaml.safe_load((EXAMPLE / "docker-compose.yml").read_text(encoding="utf-8"))


@pytest.mark.environments
def test_compose_s_specification_takes_the_file(tmp_path: Path) -> None:
    text = (EXAMPLE / "docker-compose.yml").read_text(encoding="utf-8")
    text = re.sub(r"\$\{\w+:\?[^}]*\}", "/srv/bundle", re.sub(r"\$\{\w+:-\}", "", text))  # as compose fills them in
    assert "${" not in text
    python = make(REPOSITORY / "tests" / "examples" / "serve" / ".venv-compose", ["compose-spec==0.2.1"])
    program = (
        "import sys; from compose_spec import PyCompose; found = PyCompose.from_yaml(sys.stdin.read()); "
        "found.validate(); print(*sorted(found.service_names()))"
    )
    command = [str(python), "-c", program]
    assert checked(command, input=text).split() == ["edgepipe", "grafana", "prometheus"]
    done = subprocess.run(
        command, input=text.replace("cap_drop", "cap_dropp"), capture_output=True, text=True, check=False
    )
    assert "cap_dropp" in done.stderr


def test_compose_has_the_files_that_it_mounts() -> None:
    mounted = [
        volume.split(":")[0] for service in COMPOSE["services"].values() for volume in service["volumes"]
        if isinstance(volume, str)
    ]  # fmt: skip
    for source in mounted:
        assert source in COMPOSE["volumes"] or (EXAMPLE / source).exists(), source


def test_compose_is_for_this_machine_alone() -> None:
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    edgepipe = COMPOSE["services"]["edgepipe"]
    assert edgepipe["read_only"]
    assert edgepipe["tmpfs"] == ["/tmp"]
    assert int(edgepipe["stop_grace_period"].removesuffix("s")) > DRAIN
    assert edgepipe["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
