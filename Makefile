# Two commands for a newcomer: `make demo` and `make test`. Both set everything up in .venv first.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
# What pip is told about indexes and certificates, by variable or file, holds for uv too.
export UV_DEFAULT_INDEX ?= $(or $(PIP_INDEX_URL),$(shell $(PYTHON) -m pip config get global.index-url 2>/dev/null))
ifeq ($(strip $(UV_DEFAULT_INDEX)),)
unexport UV_DEFAULT_INDEX
endif
export UV_SYSTEM_CERTS := true
export UV_COMPILE_BYTECODE := 1

.PHONY: help setup demo up down test unit check format docs screenshots thorough bench soak lock clean

help: ## say what there is
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: $(VENV)/.ready ## a virtual environment with the locked versions

# One environment for all goals, also when two of them start at once.
$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "Trueup needs Python 3.11 to 3.13 (found: $$($(PYTHON) --version 2>&1)); set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "setting up $(VENV) (once; takes a minute or two)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3.11 -m venv failed; on Debian: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }
	@test -x $(UV) || $(BIN)/python -m ensurepip --upgrade >/dev/null 2>&1; test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## the closed loop on the real flights of 2013
	@$(BIN)/trueup demo

up: setup ## Prefect with a worker, MLflow, Evidently's UI and the reports, until Ctrl-C
	@$(BIN)/trueup up

down: setup ## end what `make up` or `trueup up` started
	@$(BIN)/trueup down

test: setup ## the whole test suite
	@OMP_NUM_THREADS=1 $(BIN)/pytest -m 'not thorough' -n 3 --dist loadfile --no-loadscope-reorder  # stacks wait a lot: three for two cores, and not all stacks at the end

thorough: setup ## what takes minutes each, and property tests with many examples: about an hour
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m 'thorough or property' --hypothesis-profile many
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m 'not thorough' --homes shared tests/loop tests/stages  # one model's loop in a bucket, on PostgreSQL

unit: setup ## the domain's tests only, in seconds
	@OMP_NUM_THREADS=1 $(BIN)/pytest -q tests/unit

check: setup ## format, lint, types, import contracts, known holes in what is locked
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.names
	@$(BIN)/python -m tools.sizes
	@$(BIN)/python -m tools.audit

format: setup ## put the code into shape
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: setup ## the generated pages of docs/
	@$(BIN)/python -m docs.generate

screenshots: setup ## the pictures of docs/, from a real stack in a real browser (needs chromium)
	@OMP_NUM_THREADS=1 SCREENSHOTS=1 $(BIN)/pytest -q -m thorough tests/orchestration/test_browser.py tests/serving/test_page.py

bench: setup ## the figures the README claims
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.overhead

soak: setup ## a year of daily batches through the real stack, its servers killed ten times: two hours
	@OMP_NUM_THREADS=1 nice $(BIN)/python -W ignore -m benchmarks.soak

lock: setup ## resolve requirements.lock anew, for Python 3.11 to 3.13
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header --no-annotate --extra dev --extra flights --extra s3 --extra dask --extra traces --extra lineage pyproject.toml --output-file requirements.lock
	@for version in 3.11 3.12 3.13; do \
	  $(UV) pip compile --quiet --python-version $$version --constraint requirements.lock --extra dev --extra flights --extra s3 --extra dask --extra traces --extra lineage \
	    pyproject.toml --output-file /dev/null >/dev/null || exit 1; done  # the pins serve each of these
	@grep -oE '^[A-Za-z0-9._-]+==[^\\]*[^ \\]' requirements.lock > trueup/project/templates/base/constraints.txt  # of projects

clean: ## remove the environment and the caches, not the home
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build *.egg-info
