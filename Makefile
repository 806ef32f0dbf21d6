# Every target does its own set-up from a fresh clone; nothing outside this folder is touched.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test slow check format benchmark clean

demo: .stamps/base  ## scan an embedded network on 2,000 images of the embedded world, dissect it, show the report
	@rm -rf demo/atlas demo/atlas.partial
	$(BIN)/convscope scan diorama:objects diorama:objects/test -o demo/atlas
	$(BIN)/convscope dissect diorama:objects diorama:objects/test -o demo/atlas --limit 1000
	$(BIN)/convscope report demo/atlas -o demo/report --open
	@echo "Open demo/report/index.html in a browser."

test: .stamps/dev  ## the tests that take seconds; longer ones are in 'slow'
	$(BIN)/python -m pytest

slow: .stamps/dev  ## the tests with the marker slow, two at a time with a thread each; about half an hour on two cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2

check: .stamps/dev  ## format, lint, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .stamps/dev  ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmark: .stamps/dev  ## speed as ratios to the bare forward pass of the same run; size and first view of reports
	$(BIN)/python -m benchmarks.spine
	$(BIN)/python -m benchmarks.scan
	$(BIN)/python -m benchmarks.report
	$(BIN)/python -m benchmarks.diorama
	$(BIN)/python -m benchmarks.embedded

clean:  ## remove what the other targets made
	rm -rf .venv .stamps demo

# torch is pinned first and by itself: an unpinned torch would bring gigabytes of CUDA with it.
.stamps/base: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'convscope needs Python 3.11 or newer: make PYTHON=...')"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) torch==2.13.0
	$(PIP) -e .
	@mkdir -p .stamps && touch $@

.stamps/dev: .stamps/base
	$(PIP) -e ".[dev]"
	@touch $@
