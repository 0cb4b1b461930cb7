"""What the engines read of one checkpoint, made once: bundles of ours, and the files of the others."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection
from functools import cache
from importlib.metadata import version
from pathlib import Path

from benchmarks.environments import make, optimum_python, run, transformers_js_command
from benchmarks.peers.sections import HERE, NODE, OPTIMUM, PEERS, Contender, Section

from edgepipe.backend.machine import cpu_flags

FOLDER = Path(__file__).parent
PEERS_FOLDER = FOLDER / ".venv-peers"
ROOT = FOLDER.parents[1]
OPENVINO, CTRANSLATE2 = "2026.4.1", "4.8.5"
# The newest that runs with optimum-onnx, which wants transformers 4.57.
SENTENCE_TRANSFORMERS_ONNX = "5.7.0"
# Of x86-64 and of ARM.
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


@cache
def peers_python() -> Path:
    """The interpreter of the environment with OpenVINO's, Intel's and CTranslate2's packages."""
    torch = version("torch").partition("+")[0]
    python = make(
        PEERS_FOLDER,
        [f"torch=={torch}"],
        [f"torch=={torch}", "optimum-intel==2.2.0", "nncf==3.4.0", f"openvino=={OPENVINO}", "datasets==5.0.1"],
        [f"torch=={torch}", f"ctranslate2=={CTRANSLATE2}"],
        [f"torch=={torch}", "optimum-intel==2.2.0", f"sentence-transformers=={version('sentence-transformers')}"],
    )
    # The build of the package index wants the CUDA build of torch, and transformers fails where it is there and broken.
    run([str(python), "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision"])
    return python


def missing(contender: Contender) -> str:
    """Why a contender cannot run here, or nothing."""
    if contender.environment == NODE and (shutil.which("node") is None or shutil.which("npm") is None):
        return "Node with npm is not installed"
    if contender.precision == "bf16" and not cpu_flags() & _BF16_FLAGS:
        return "the processor has no instructions for bf16"
    return ""


def engine_command(environment: str, peers: Path | None = None) -> list[str]:
    """How an engine is started in an environment, which is set up where it is not there yet.

    Args:
        environment: One of :mod:`benchmarks.peers.sections`.
        peers: An interpreter to take for the peers' environment.
    """
    if environment == NODE:
        return transformers_js_command(FOLDER / "engine_transformers_js.mjs")
    return [str(_python(environment, peers)), str(FOLDER / "engines.py")]


def _python(environment: str, peers: Path | None) -> Path:
    if environment == PEERS:
        return peers or peers_python()
    if environment == OPTIMUM:
        return optimum_python(f"sentence-transformers[onnx]=={SENTENCE_TRANSFORMERS_ONNX}")
    assert environment == HERE
    return Path(sys.executable)


def make_files(section: Section, wanted: Collection[Contender], folder: Path, peers: Path | None) -> None:
    """Write what the contenders read and what is not in a folder yet.

    Args:
        section: What is compared.
        wanted: The contenders.
        folder: Where to. It has ``checkpoint``, which all files are made of, and ``texts.txt`` to calibrate with, a
            text a line: the same ones for everyone.
        peers: See :func:`engine_command`.
    """
    checkpoint, texts = str(folder / "checkpoint"), str(folder / "texts.txt")

    def export(name: str, dtypes: str, *options: str) -> list[str]:
        command = ["-m", "edgepipe", "export", checkpoint, str(folder / name), "--dtype", dtypes]
        return [*command, *options, "--calibration", texts, "--force"]

    def export_sentences(backend: str) -> list[str]:
        output = str(folder / f"sentence-{backend}")
        return [str(FOLDER / "export_sentences.py"), checkpoint, texts, output, backend]

    openvino = (PEERS, [str(FOLDER / "export_openvino.py"), checkpoint, texts, str(folder)])
    steps: dict[str, tuple[str, list[str]]] = {
        "bundle": (HERE, export("bundle", section.dtypes)),
        "openvino-bundle": (HERE, export("openvino-bundle", section.openvino_dtypes, "--target", "openvino")),
        "plain": (HERE, [str(FOLDER / "quantize_plain.py"), str(folder / "bundle"), str(folder / "plain")]),
        "openvino-fp32": openvino,
        "openvino-int8": openvino,
        "ctranslate2": (PEERS, [str(FOLDER / "convert_ctranslate2.py"), checkpoint, str(folder / "ctranslate2")]),
        "sentence-onnx": (OPTIMUM, export_sentences("onnx")),
        "sentence-openvino": (PEERS, export_sentences("openvino")),
    }
    # The bundle has the tokenizer, and the graph whose operations are counted.
    read = {"bundle", *(one.path.partition("/")[0] for one in wanted)}
    for name, (environment, command) in steps.items():
        if name in read and not (folder / name).exists():
            print(f"making {folder / name}", file=sys.stderr, flush=True)
            run([str(_python(environment, peers)), *command], ROOT)
