"""Environments of their own for programs that cannot live in this one, made where they are not there yet."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
TRANSFORMERS_JS = "4.3.2"
LLAMA_CPP, GGUF = "0.3.36", "0.19.0"


def optimum_python(*more: str) -> Path:
    """An interpreter that has optimum-onnx 0.1.0 and `more`, with torch and onnxruntime as here."""
    return make(
        HERE / ".venv-optimum",
        [f"torch=={version('torch').partition('+')[0]}"],
        ["optimum-onnx[onnxruntime]==0.1.0", f"onnxruntime=={version('onnxruntime')}"],
        *[[package, "optimum-onnx[onnxruntime]==0.1.0"] for package in more],
    )


def llama_python() -> Path:
    """An interpreter that has llama-cpp-python, built for this processor, which takes minutes."""
    return make(
        HERE / ".venv-llama",
        [f"llama-cpp-python[server]=={LLAMA_CPP}"],
        [f"gguf=={GGUF}", "safetensors"],
    )


def transformers_js_command(program: Path) -> list[str]:
    """How a program for transformers.js is run, with its packages in ``node_modules`` beside it.

    Raises:
        SystemExit: Node is not installed, or its packages could not be.
    """
    if shutil.which("npm") is None:
        raise SystemExit("npm is not installed; transformers.js needs Node 20 or newer with npm")
    if not (program.parent / "node_modules" / "@huggingface" / "transformers").is_dir():
        print("installing transformers.js", file=sys.stderr)
        # Without scripts: the binaries for the CPU are in the packages, and the scripts would fetch those for CUDA.
        options = ["--ignore-scripts", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--prefix", "."]
        run(["npm", "install", *options, f"@huggingface/transformers@{TRANSFORMERS_JS}"], program.parent)
    return ["node", str(program)]


def make(folder: Path, *installed: Sequence[str]) -> Path:
    """The interpreter of a virtual environment, made where there is none.

    Args:
        folder: Where it is. The file ``.steps`` there has what was done, which is not done again.
        *installed: What pip installs, step by step.
    """
    python, steps = folder / "bin" / "python", folder / ".steps"
    if not (steps.exists() or (folder / ".ready").exists()):
        print(f"making {folder.name}", file=sys.stderr)
        run([sys.executable, "-m", "venv", "--clear", str(folder)])
    done = steps.read_text(encoding="utf-8").splitlines() if steps.exists() else []
    for step in map(list, installed):
        if " ".join(step) not in done:
            run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *step])
            done.append(" ".join(step))
            steps.write_text("\n".join(done), encoding="utf-8")
    (folder / ".ready").touch()
    return python


def run(command: list[str], folder: Path | None = None) -> None:
    """Run a command in a folder; what it printed is shown only if it failed.

    Raises:
        SystemExit: it failed, or is not installed.
    """
    try:
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except FileNotFoundError:
        raise SystemExit(f"{command[0]} is not installed") from None
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}")
