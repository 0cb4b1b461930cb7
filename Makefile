# make demo · make test · make test-gpu · make check · make bench · make bench-throughput · make bench-generation · make interop
# Each target sets up its own virtual environment if there is none; PYTHON picks the interpreter (3.11 or newer).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
GPU_VENV ?= .venv-gpu

.PHONY: setup demo test test-gpu check format bench bench-throughput bench-generation interop clean

setup: $(READY)

# torch comes from constraints.txt in a step of its own: unpinned it would bring gigabytes of CUDA.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/edgepipe demo models/default

test: $(READY)
	$(BIN)/python -m pytest

# Needs an NVIDIA GPU; skips with the reason where it cannot be used.
test-gpu: $(GPU_VENV)/.gpu
	$(GPU_VENV)/bin/python -m pytest -m gpu tests/gpu

# An environment of its own: the exporter asks for onnxruntime, whose files onnxruntime-gpu has to replace.
$(GPU_VENV)/.gpu: pyproject.toml constraints.txt
	$(MAKE) setup VENV=$(GPU_VENV)
	$(GPU_VENV)/bin/python -m pip uninstall --quiet --yes onnxruntime onnxruntime-gpu
	$(GPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[gpu]'
	touch $@

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/architecture -q

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python benchmarks/request.py --optimum

bench-throughput: $(READY)
	$(BIN)/python benchmarks/throughput.py

bench-generation: $(READY)
	$(BIN)/python benchmarks/generation.py --context

# Needs Node 20 and npm, and downloads optimum-onnx and transformers.js.
interop: $(READY)
	$(BIN)/python -m tests.interop.check

clean:
	rm -rf $(VENV) $(GPU_VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
