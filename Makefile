# Every target makes its own environment in .venv; nothing has to be installed by hand but Python 3.11 or later.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
LOCKED := PIP_BUILD_CONSTRAINT=requirements/build.txt $(PIP) install --no-deps --no-compile --require-hashes
# Many tests wait for brokers and processes, so three workers more than there are processors.
WORKERS ?= $(shell echo $$((3 + $$(getconf _NPROCESSORS_ONLN))))
EVERY_TEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
GATE := --cov --cov-report=term
CALLS ?=
MINUTES ?= 15
SECONDS ?= 30
ITEMS ?=
KEEP ?=
PROVE ?=
SEED ?=
PAIR ?=
.DEFAULT_GOAL := help
.NOTPARALLEL: # all targets install into one environment
.PHONY: help demo test test-cluster check fix ci bench soak prove fuzz audit sbom lock dist images publish kind clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; name it with: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Installing takes exactly what the lock files name, whatever newer versions a registry offers: no dependency is resolved
# (--no-deps), and what builds a source archive is locked too. The first step brings a current pip, which needs half the
# time of the one that comes with Python 3.11. Python compiles what is used when it is first used.
$(VENV)/pip.stamp: $(BIN)/python requirements/pip.txt
	$(LOCKED) -r requirements/pip.txt
	@touch $@

define install
	$(LOCKED) -r requirements/$(1).txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check || { echo "something was installed that no lock file names; start anew: make clean, then this again" >&2; exit 1; }
endef

$(VENV)/demo.stamp: $(VENV)/pip.stamp requirements/demo.txt requirements/build.txt pyproject.toml
	$(call install,demo)
	@touch $@

$(VENV)/test.stamp: $(VENV)/pip.stamp requirements/test.txt requirements/build.txt pyproject.toml
	$(call install,test)
	@touch $(VENV)/demo.stamp $@

demo: $(VENV)/demo.stamp ## the whole path on this machine: embedded broker, simulator, planner, writer, a kill and an audit
	@$(BIN)/writeback demo $(if $(CALLS),--calls '$(CALLS)') $(if $(ITEMS),--items $(ITEMS)) $(if $(KEEP),--keep)

define static
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
endef

test: $(VENV)/test.stamp ## all tests, the real-broker tier included
	@$(EVERY_TEST)

test-cluster: $(VENV)/test.stamp ## the chart on a real Kubernetes without containers; needs Go, Maven and apt; the first time half an hour
	@WRITEBACK_TEST_CLUSTER=1 $(BIN)/python -m pytest tests/cluster

check: $(VENV)/test.stamp ## lint, types, import contracts, and 100 % branches in core/, schemas/ and runtime/
	$(static)
	@$(BIN)/python -m pytest -q -n auto tests/unit $(GATE)

fix: $(VENV)/test.stamp ## format, and correct what a tool can correct
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

ci: $(VENV)/test.stamp ## check and test in one, so that no test runs twice
	$(static)
	@$(EVERY_TEST) $(GATE)

bench: $(VENV)/test.stamp ## the figures beside what a user would pick instead; JSON in bench/out/
	@$(BIN)/python -m bench

soak: $(VENV)/test.stamp ## a quarter of an hour on a real Kafka with ACLs, every failure in turn; MINUTES=3 to try
	@$(BIN)/python -m tests.soak --minutes $(MINUTES)

prove: $(VENV)/test.stamp ## the release counts of the simulation; may be stopped, goes on where it was; SEED=7 tells one
	@nice $(BIN)/python -m tests.proof.prove $(if $(PAIR),--pair '$(PAIR)') $(if $(SEED),--seed $(SEED)) $(PROVE)

fuzz: $(VENV)/test.stamp ## a coverage-guided fuzzer over everything that reads bytes from outside; SECONDS=600 each
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

lock: $(VENV)/test.stamp ## pin every dependency again, newest versions
	@sh requirements/lock.sh

$(VENV)/supply/stamp: $(BIN)/python requirements/supply.txt
	$(PYTHON) -m venv $(VENV)/supply
	$(VENV)/supply/bin/python -m pip --quiet --disable-pip-version-check install --no-deps --require-hashes -r requirements/supply.txt
	@touch $@

audit: $(VENV)/supply/stamp ## known vulnerabilities of everything that is installed; needs the network
	@$(VENV)/supply/bin/pip-audit --disable-pip --require-hashes --strict $(foreach file,test planner writer ops simulator,-r requirements/$(file).txt)

sbom: $(VENV)/supply/stamp ## a list of parts (CycloneDX) for each image, in dist/
	@mkdir -p dist
	@for image in planner writer ops simulator; do $(VENV)/supply/bin/cyclonedx-py requirements --output-reproducible \
		--of JSON -o dist/sbom-$$image.json requirements/$$image.txt && echo dist/sbom-$$image.json; done

dist: $(VENV)/test.stamp ## wheel and chart of one version in dist/, with checksums
	@bash .ci/dist

images: ## the images, with the version in pyproject.toml as their tag; needs Docker
	@bash .ci/images

publish: ## push the chart and sign it and the images, after make dist, make sbom and PUSH=true make images; needs cosign
	@bash .ci/publish

kind: ## install the chart in a new kind cluster; needs Docker, kind, kubectl and helm, and the images
	@bash .ci/kind/install

clean: ## remove the environment and every cache
	rm -rf $(VENV) .cache bench/out dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
