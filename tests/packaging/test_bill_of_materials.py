"""The bill of materials of a release: what is left out of an environment, and what is added."""

from __future__ import annotations

from typing import Any

import pytest
from scripts.bill_of_materials import MODEL, complete, describe_model, list_direct, read_hashes
from scripts.set_up import LOCKS

from edgepipe.bundle.integrity import sha256

DIGEST = "0" * 64


def component(name: str, version: str) -> dict[str, Any]:
    return {"name": name, "version": version, "bom-ref": f"{name}=={version}", "purl": f"pkg:pypi/{name}@{version}"}


def bill() -> dict[str, Any]:
    """As cyclonedx-py writes it for an environment in which a wheel of this machine was installed."""
    root = {"name": "edgepipe", "version": "1.0", "bom-ref": "root", "externalReferences": [{"url": "file:///tmp/x"}]}
    return {
        "metadata": {"component": root},
        "components": [component("A_b", "1"), component("c", "2"), component("torch", "3"), component("pip", "4")],
        "dependencies": [
            {"ref": "root", "dependsOn": ["A_b==1", "pip==4", "torch==3"]},
            {"ref": "A_b==1", "dependsOn": ["c==2"]},
            {"ref": "c==2", "dependsOn": ["A_b==1", "pip==4"]},
            {"ref": "torch==3"},
            {"ref": "pip==4"},
        ],
    }


def test_what_is_needed_is_kept_and_has_its_hashes() -> None:
    made = complete(bill(), {"a-b", "torch"}, {("a-b", "1"): [DIGEST], ("c", "2"): [DIGEST, DIGEST]})
    assert [entry["name"] for entry in made["components"]] == ["A_b", "c", "torch"]
    assert [entry["ref"] for entry in made["dependencies"]] == ["root", "A_b==1", "c==2", "torch==3"]
    counts = [len(entry.get("externalReferences", [{"hashes": []}])[0]["hashes"]) for entry in made["components"]]
    assert counts == [1, 2, 0]
    assert made["dependencies"][0]["dependsOn"] == ["A_b==1", "torch==3"]
    root = made["metadata"]["component"]
    assert root["purl"] == "pkg:pypi/edgepipe@1.0"
    assert "externalReferences" not in root


def test_a_package_without_a_lock_is_refused() -> None:
    with pytest.raises(SystemExit, match="c 2 is not in the lock of its stage"):
        complete(bill(), {"a-b"}, {("a-b", "1"): [DIGEST]})


def test_the_embedded_model_is_named_by_its_files() -> None:
    files = describe_model()["components"]
    assert {file["name"]: file["hashes"][0]["content"] for file in files} == {
        file["name"]: sha256(MODEL / file["name"]) for file in files
    }
    assert any(file["name"].endswith(".onnx") for file in files)


def test_what_the_package_asks_for() -> None:
    assert list_direct("cpu") == {"numpy", "tokenizers", "click", "onnxruntime"}


def test_hashes_are_read_from_a_lock() -> None:
    text = (LOCKS / "runtime.txt").read_text(encoding="utf-8")
    found = read_hashes(text)
    assert sum(map(len, found.values())) == text.count("--hash=sha256:")
    assert all(found.values())
