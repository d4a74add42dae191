# Every target makes its own environment in .venv; nothing has to be installed by hand but Python 3.11 or later.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
CALLS ?=
ITEMS ?=
.DEFAULT_GOAL := help
.PHONY: help demo test check bench lock clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; name it with: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(BIN)/python requirements/demo.txt pyproject.toml
	$(PIP) install --require-hashes -r requirements/demo.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/test.stamp: $(VENV)/demo.stamp requirements/test.txt
	$(PIP) install --require-hashes -r requirements/test.txt
	@touch $@

demo: $(VENV)/demo.stamp ## the whole path on this machine: embedded broker, simulator, planner, writer, a kill and an audit
	@$(BIN)/writeback demo $(if $(CALLS),--calls '$(CALLS)') $(if $(ITEMS),--items $(ITEMS))

test: $(VENV)/test.stamp ## all tests, the real-broker tier included
	@$(BIN)/python -m pytest -n auto --dist worksteal

check: $(VENV)/test.stamp ## lint, types, import contracts, and 100 % branches in core/ and schemas/
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest -q -n auto tests/unit --cov --cov-report=term

bench: $(VENV)/test.stamp ## the figures beside what a user would pick instead; JSON in bench/out/
	@$(BIN)/python -m bench

lock: $(VENV)/test.stamp ## pin every dependency again, newest versions
	@sh requirements/lock.sh

clean: ## remove the environment and every cache
	rm -rf $(VENV) .cache bench/out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
