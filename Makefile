# make demo · make test · make check · make bench · make bench-throughput · make bench-generation · make interop
# Each target sets up its own virtual environment if there is none; PYTHON picks the interpreter (3.11 or newer).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test check format bench bench-throughput bench-generation interop clean

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
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
