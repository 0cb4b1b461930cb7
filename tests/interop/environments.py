"""Where the others live: environments of their own, made when they are not there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
# The one that the benchmarks make and use, with the same packages.
OPTIMUM = HERE.parents[1] / "benchmarks" / ".venv-optimum"


def optimum_python(*more: str) -> Path:
    """An interpreter that has optimum-onnx 0.1.0 and `more`, with torch and onnxruntime as here."""
    return make(
        OPTIMUM,
        [f"torch=={version('torch').partition('+')[0]}"],
        ["optimum-onnx[onnxruntime]==0.1.0", f"onnxruntime=={version('onnxruntime')}"],
        *[[package, "optimum-onnx[onnxruntime]==0.1.0"] for package in more],
    )


def optimum_command() -> list[str]:
    """How `ask_optimum.py` is run."""
    return [str(optimum_python()), str(HERE / "ask_optimum.py")]


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


def transformers_js_command() -> list[str]:
    """How `ask_transformers_js.mjs` is run, with the packages of `package.json` beside it."""
    if not (HERE / "node_modules" / "@huggingface" / "transformers").is_dir():
        print("installing transformers.js", file=sys.stderr)
        # Without scripts: the binaries for the CPU are in the packages, and the scripts would fetch those for CUDA.
        run(["npm", "install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund"])
    return ["node", str(HERE / "ask_transformers_js.mjs")]


def run(command: list[str]) -> None:
    """Run a command; what it printed is shown only if it failed.

    Raises:
        SystemExit: it failed, or is not installed.
    """
    try:
        done = subprocess.run(
            command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except FileNotFoundError:
        raise SystemExit(f"{command[0]} is not installed; transformers.js needs Node 20 or newer with npm") from None
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}")
