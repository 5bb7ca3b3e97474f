# Holdfast's commands. `make` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SEED ?= 1
RUNS ?= 10

.DEFAULT_GOAL := help
.PHONY: help setup lock demo unit test format lint protos up down bench chaos exact

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 10

setup: $(STAMP)  ## install everything into .venv

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]' --group dev
	touch $@

lock: $(BIN)/uv  ## write all versions into constraints.txt; ARGS=--upgrade raises them
	$(BIN)/uv pip compile pyproject.toml --extra all --group dev --output-file constraints.txt $(ARGS) --quiet \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 \
		--custom-compile-command "make lock    (what Python 3.11 on Linux x86_64 needs; pip reads it with --constraint)"

# Not the stamp: versions that contradict each other can be locked again, but not installed.
$(BIN)/uv:
	$(MAKE) $(STAMP)

demo: $(STAMP)  ## train on the S&P 500 of 1999-2013, backtest 2014-2018, print and draw the result
	$(BIN)/python scripts/demo.py

unit: $(STAMP)  ## the unit tests, and what of the code they reach
	$(PYTEST) tests/unit --cov --cov-report=term

# A file at a time in three processes: what waits for others shares two cores with what computes. In the order of their
# names: the longest (chaos, exact) begin first, and the unit tests fill the end.
PYTEST := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder --numprocesses 3

test: $(STAMP)  ## the whole test suite
	$(PYTEST)

format: $(STAMP)  ## put the code into its one form, with what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: $(STAMP)  ## ruff, mypy, buf lint, drift of the generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy libs scripts benchmarks tests
	$(BIN)/buf lint
	$(BIN)/python scripts/generate_protos.py --check

protos: $(STAMP)  ## generate libs/holdfast/v1 from protos/
	$(BIN)/python scripts/generate_protos.py

up: $(STAMP)  ## start PostgreSQL, coordinator, trainer and backtester on this machine
	$(BIN)/holdfast up

down: $(STAMP)  ## stop them
	$(BIN)/holdfast down

bench: $(STAMP)  ## ratios, measured side by side; docs/benchmarks.md has a run
	$(BIN)/python -m benchmarks

chaos: $(STAMP)  ## random faults: make chaos SEED=1 RUNS=200 FAULTS="store full,kill run"
	$(BIN)/python -m tests.chaos $(SEED) $(RUNS) "$(FAULTS)"

exact: $(STAMP)  ## interrupt and resume, compare digests with the uninterrupted run's
	$(BIN)/python -m tests.exact
