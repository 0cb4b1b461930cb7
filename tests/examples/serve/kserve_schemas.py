"""What ``examples/serve/kserve.yaml`` uses of KServe's definitions, by hand: names, types, and nothing else.

Read off config/crd/full of KServe's repository: serving.kserve.io_servingruntimes.yaml (v1alpha1) and
serving.kserve.io_inferenceservices.yaml (v1beta1). Containers and volumes are Kubernetes' own; its schema checks them.
"""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
TEXTS = {"type": "array", "items": TEXT}


def table(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """An object with these names, and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def document(version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A whole resource."""
    metadata = table({"name": TEXT}, "name")
    properties = {"apiVersion": {"const": version}, "kind": {"const": kind}, "metadata": metadata, "spec": spec}
    return table(properties, *properties)


FORMAT = table({"name": TEXT, "version": TEXT, "autoSelect": {"type": "boolean"}, "priority": WHOLE}, "name")
SCHEMAS = {
    "ServingRuntime": document(
        "serving.kserve.io/v1alpha1",
        "ServingRuntime",
        table(
            {
                "annotations": {"type": "object", "additionalProperties": TEXT},
                "supportedModelFormats": {"type": "array", "items": FORMAT},
                "protocolVersions": TEXTS,
                "containers": {"type": "array", "items": {"type": "object"}},
                "volumes": {"type": "array", "items": {"type": "object"}},
            },
            "containers",
        ),
    ),
    "InferenceService": document(
        "serving.kserve.io/v1beta1",
        "InferenceService",
        table(
            {
                "predictor": table(
                    {
                        "minReplicas": WHOLE,
                        "maxReplicas": WHOLE,
                        "model": table(
                            {
                                "modelFormat": table({"name": TEXT, "version": TEXT}, "name"),
                                "protocolVersion": TEXT,
                                "runtime": TEXT,
                                "storageUri": TEXT,
                            },
                            "modelFormat",
                        ),
                    },
                ),
            },
            "predictor",
        ),
    ),
}
