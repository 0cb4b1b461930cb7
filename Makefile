# make demo · make test · make test-oldest · make check · make format · make docs · make test-gpu · make interop
# make test-arm64 · make test-x86 · make fuzz · make chaos · make soak · make bench · make bench-throughput · make bench-peers · make bench-generation · make coverage
# make lock · make audit · make release-check · make clean
# Each target sets up what it needs in a virtual environment; PYTHON picks the interpreter (3.11 or newer).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
GPU_VENV ?= .venv-gpu
OLDEST_VENV ?= .venv-oldest
OLDEST_TESTS ?= tests/golden/test_question_answering.py tests/golden/test_token_classification.py \
  tests/golden/test_generation_bundles.py tests/export/quantization tests/runtime/tokenization \
  tests/runtime/mapping/sources tests/runtime/mapping/test_part_files.py tests/runtime/mapping/test_run_job.py
DOCS_VENV ?= .venv-docs
LOCKS := $(wildcard locks/*.txt)
# How many times as many generated inputs as by default, and what they are drawn from.
FUZZ_TIMES ?= 1
FUZZ_SEED ?= 17
CHAOS_TIMES ?= 1
CHAOS_SEED ?= 17
SOAK_TIMES ?= 1
SOAK_SEED ?= 17
# Processes that run the tests side by side.
WORKERS ?= auto

.PHONY: setup demo test test-oldest test-gpu test-arm64 test-x86 check format docs coverage interop
.PHONY: bench bench-throughput bench-peers bench-generation
.PHONY: fuzz chaos soak lock audit release-check clean

setup: $(VENV)/.dev

# A stage of scripts/set_up.py: runtime, then export, then dev.
$(VENV)/.export: $(VENV)/.runtime
$(VENV)/.dev: $(VENV)/.export
$(VENV)/.release: $(VENV)/.runtime
$(VENV)/.runtime $(VENV)/.export $(VENV)/.dev $(VENV)/.release $(DOCS_VENV)/.docs: pyproject.toml constraints.txt scripts/set_up.py $(LOCKS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "edgepipe needs Python 3.11 or newer; name one, e.g. make $(MAKECMDGOALS) PYTHON=python3.12")'
	@$(PYTHON) scripts/set_up.py $(@D) $(patsubst .%,%,$(notdir $@))

# The model that comes with edgepipe answers before the exporter is there.
demo: $(VENV)/.runtime
	@$(BIN)/edgepipe demo
	@$(MAKE) --no-print-directory $(VENV)/.export
	@$(BIN)/edgepipe demo models/default

test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

# A reduced suite with the oldest versions that pyproject.toml claims for the exporter and for datasets.
test-oldest: $(OLDEST_VENV)/.oldest
	$(OLDEST_VENV)/bin/python -m pytest --numprocesses $(WORKERS) --dist worksteal $(OLDEST_TESTS)

$(OLDEST_VENV)/.oldest: $(VENV)/.dev scripts/set_up_oldest.py locks/oldest.txt
	@$(PYTHON) scripts/set_up_oldest.py $(@D) $(VENV)

# The runtime on emulated processors; what Debian's archive or the package index does not give is named, and skipped.
# EMULATION='--whole' runs the slow tests, too; '--processor cortex-a72 --only probes' is a part. Without a part, the
# commands of docs/how-to/boards.md are run at the end.
EMULATION ?=
test-arm64: $(VENV)/.dev
	$(BIN)/python -m tests.emulation --architecture arm64 $(EMULATION)
	$(if $(filter-out --whole,$(EMULATION)),,$(BIN)/python -m pytest -m environments tests/emulation/test_boards.py)

test-x86: $(VENV)/.dev
	$(BIN)/python -m tests.emulation --architecture amd64 $(EMULATION)

# Needs an NVIDIA GPU; skips with the reason where it cannot be used.
test-gpu: $(GPU_VENV)/.gpu
	$(GPU_VENV)/bin/python -m pytest -m gpu tests/gpu

# An environment of its own: the exporter asks for onnxruntime, whose files onnxruntime-gpu has to replace.
$(GPU_VENV)/.gpu: pyproject.toml constraints.txt
	$(MAKE) setup VENV=$(GPU_VENV)
	$(GPU_VENV)/bin/python -m pip uninstall --quiet --yes onnxruntime onnxruntime-gpu
	$(GPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[gpu]'
	touch $@

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/architecture -q

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Every page, and what the docstrings say; a warning fails. It needs neither torch nor anything else of an export.
docs: $(DOCS_VENV)/.docs
	$(DOCS_VENV)/bin/python -m sphinx --fail-on-warning --keep-going --quiet --fresh-env docs build/docs
	@echo build/docs/index.html

# Every architecture with every head and option beside transformers; ends with a count, and writes two pages of the docs.
# It takes an hour on two cores; `python -m tests.tiny.coverage --resume` goes on with one that was stopped.
coverage: $(VENV)/.dev
	$(BIN)/python -m tests.tiny.coverage

# Generated inputs with a seed: tokenizers and tasks beside transformers, and bundles that were changed. Some minutes;
# `make fuzz FUZZ_TIMES=100` has a hundred times as many. What fails is a file in build/fuzz that can be run again.
fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz --times $(FUZZ_TIMES) --seed $(FUZZ_SEED)

# Kills, full and broken disks, clocks that jump, threads, forks and signals: about a minute.
chaos: $(VENV)/.dev
	$(BIN)/python -m tests.chaos --times $(CHAOS_TIMES) --seed $(CHAOS_SEED)

# Calls from several threads, calls one after another, loads: about a minute.
soak: $(VENV)/.dev
	$(BIN)/python -m tests.soak --times $(SOAK_TIMES) --seed $(SOAK_SEED)

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.pipelines.request --optimum

bench-throughput: $(VENV)/.dev
	$(BIN)/python -m benchmarks.pipelines.throughput

# Downloads OpenVINO, optimum-intel, NNCF, CTranslate2, optimum-onnx and transformers.js (which needs Node 20 and npm, and
# is left out without); then OpenVINO GenAI, onnxruntime-genai and llama-cpp-python, which is built. A machine that does
# nothing else for two hours. READING='--models minilm' and WRITING='--models gpt2 --only edgepipe llama' are parts.
READING ?=
WRITING ?=
bench-peers: $(VENV)/.dev
	$(BIN)/python -m benchmarks.peers.compare $(READING)
	$(BIN)/python -m benchmarks.peers.writing $(WRITING)

bench-generation: $(VENV)/.dev
	$(BIN)/python -m benchmarks.generation.tokens_per_second --context

# Every package that the stages install, with its hashes: after a change of pyproject.toml or constraints.txt.
lock: $(VENV)/.release
	$(BIN)/python scripts/lock.py

# Fails where a package of the locks has a known vulnerability; ADVISORIES=FOLDER looks in a copy of the database.
audit: $(VENV)/.release
	$(BIN)/python scripts/audit.py $(if $(ADVISORIES),--advisories '$(ADVISORIES)')

# Builds sdist, wheel and bills of materials into dist/, and runs what each extra is for in an empty environment.
release-check: $(VENV)/.release
	$(BIN)/python scripts/check_release.py

# Needs Node 20 and npm, and downloads optimum-onnx, transformers.js and the newest optimum.
interop: $(VENV)/.dev
	$(BIN)/python -m tests.interop.check
	$(BIN)/python -m tests.interop.variants
	$(BIN)/python -m tests.interop.node_and_browser
	$(BIN)/python -m pytest -m environments

clean:
	rm -rf $(VENV) $(GPU_VENV) $(OLDEST_VENV) $(DOCS_VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
