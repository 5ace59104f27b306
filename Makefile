# Tidecast's tasks. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.tidecast-setup
PYTEST_ARGS ?=

# Two threads of one core each beat two pools that fight for both; results do not hang on the number of cores either.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: help setup services demo test faults lint soak bench wheel-test lock clean

help: ## list the tasks
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

setup: $(STAMP) ## create .venv with all that Tidecast needs (again only when what it is made from changed)

$(STAMP): pyproject.toml constraints.txt setup.py $(wildcard models/kernel/* models/observer/* stream/native/*) .ci/setup
	@.ci/setup $(VENV) $(STAMP)

services: setup ## fetch a real Redis, Kafka and Alertmanager for the tests where that is possible
	@.ci/services $(BIN)/python

demo: setup ## everything at once on this machine: broker, Redis, a feed, a worker and a live view
	@$(BIN)/tidecast demo $(ARGS)

lint: setup ## style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

test: setup services lint ## all checks and all tests; PYTEST_ARGS='...' chooses
	@$(BIN)/python -m pytest -q -ra $(PYTEST_ARGS)

soak: setup services ## the slow tests that look for growth over millions of observations
	@$(BIN)/python -m pytest -q -s -ra tests/soak $(PYTEST_ARGS)

faults: setup services ## the fault campaign on real servers: ARGS=--quick, ARGS="--seed N"
	@$(BIN)/python -m benchmarks.faults $(ARGS)

bench: setup ## run one benchmark: make bench NAME=... ARGS='...'
	@if [ -z "$(NAME)" ]; then \
	  echo "Say which: make bench NAME=... [ARGS='...']. There are:"; \
	  for file in benchmarks/[!_]*.py; do [ -e "$$file" ] && echo "  $$(basename "$$file" .py)"; done; \
	  exit 2; \
	fi
	@$(BIN)/python -m benchmarks.$(NAME) $(ARGS)

wheel-test: setup ## build the wheel, install it by itself, and run the unit tests against it
	@.ci/wheel-test $(VENV)

lock: setup ## resolve all packages afresh and write constraints.txt
	@$(BIN)/python .ci/lock.py

clean: ## remove what was built, .venv too
	rm -rf $(VENV) build dist *.egg-info models/*.so stream/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
