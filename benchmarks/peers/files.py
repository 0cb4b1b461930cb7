"""What the engines read of one checkpoint, made once: bundles of ours, and the files of the others."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.environments import make, run

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OPENVINO, CTRANSLATE2 = "2026.4.1", "4.8.5"


def peers_python() -> Path:
    """The interpreter of the environment with OpenVINO's, Intel's and CTranslate2's packages."""
    torch = version("torch").partition("+")[0]
    folder = HERE / ".venv-peers"
    python = make(
        folder,
        [f"torch=={torch}"],
        [f"torch=={torch}", "optimum-intel==2.2.0", "nncf==3.4.0", f"openvino=={OPENVINO}", "datasets==5.0.1"],
        [f"torch=={torch}", f"ctranslate2=={CTRANSLATE2}"],
    )
    # The build of the package index wants the CUDA build of torch, and transformers fails where it is there and broken.
    run([str(python), "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision"])
    return python


def make_files(checkpoint: Path, texts: Path, folder: Path, python: Path) -> None:
    """Write what is not in a folder yet.

    Args:
        checkpoint: What all files are made of.
        texts: Texts to calibrate with, one a line: the same ones for everyone.
        folder: Where to.
        python: See :func:`peers_python`.
    """
    export = [sys.executable, "-m", "edgepipe", "export", str(checkpoint)]
    calibrated = ["--calibration", str(texts), "--force"]
    steps = {
        "bundle": [*export, str(folder / "bundle"), "--dtype", "fp32,w8,int8", *calibrated],
        "openvino-bundle": [
            *export,
            str(folder / "openvino-bundle"),
            *("--target", "openvino", "--dtype", "fp32,w8,int8-static", *calibrated),
        ],
        "plain": [sys.executable, str(HERE / "quantize_plain.py"), str(folder / "bundle"), str(folder / "plain")],
        "openvino-int8": [str(python), str(HERE / "export_openvino.py"), str(checkpoint), str(texts), str(folder)],
        "ctranslate2": [
            str(python.with_name("ct2-transformers-converter")),
            *("--model", str(checkpoint), "--output_dir", str(folder / "ctranslate2")),
        ],
    }
    for name, command in steps.items():
        if not (folder / name).exists():
            print(f"making {folder / name}", file=sys.stderr, flush=True)
            run(command, ROOT)
