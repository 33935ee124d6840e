# Two commands matter: `make demo` shows what Soma does, `make test` shows that it works.

# The first of these that is new enough; or name one: make test PYTHON=/path/to/python
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && exit; done; echo python3)
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-input
# The project itself; the build backend is among the pins, so nothing unpinned is fetched to build it.
INSTALL_SOMA := $(INSTALL) --no-deps --no-build-isolation --editable .
# One version for every platform and Python; names and hashes only, no address.
PIN = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	--custom-compile-command "make requirements" $(if $(UPGRADE),--upgrade)
AS_DEV := --constraint requirements/dev.txt

# Stamps: .venv holds what these files pin. The second includes the first.
BASE := .venv/.installed-base
DEV := .venv/.installed-dev

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test check bench requirements clean

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-14s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(DEV) ## install Soma and its tools into .venv

demo: $(BASE) ## store a diary in a fresh memory over MCP, and ask it a dozen questions
	@$(BIN)/soma demo

test: $(DEV) ## run the tests, two files at a time; ARGS="-k recall" goes to pytest
	$(BIN)/pytest --numprocesses 2 --dist loadfile $(ARGS)

check: $(DEV) ## style, types, who imports whom, and that pins and pages fit what they are made from
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.check_requirements
	$(BIN)/python -m scripts.settings_doc --check
	$(BIN)/python -m scripts.metrics_doc --check
	$(BIN)/python -m scripts.generate_openapi --check

bench: $(DEV) ## measure speed and memory against controls; prints one JSON document
	@$(BIN)/python -m scripts.bench $(ARGS)

requirements: $(DEV) ## pin the dependencies anew after a change of pyproject.toml; UPGRADE=1 takes the newest of all
	$(PIN) pyproject.toml --extra dev --group build --output-file requirements/dev.txt
	$(PIN) pyproject.toml $(AS_DEV) --output-file requirements/base.txt
	$(PIN) pyproject.toml $(AS_DEV) --extra server --output-file requirements/server.txt
	$(PIN) --group build $(AS_DEV) --output-file requirements/build.txt

clean: ## remove all that was made here, .venv too
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Soma needs Python 3.11 or newer, and '$(PYTHON)' is: $$($(PYTHON) --version 2>&1 | tail -n 1)" >&2; \
		echo "Name one that is: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

$(BASE): pyproject.toml requirements/base.txt requirements/build.txt | $(BIN)/python
	@echo "Installing Soma into .venv" >&2
	@$(INSTALL) --require-hashes -r requirements/base.txt -r requirements/build.txt
	@$(INSTALL_SOMA)
	@touch $@

$(DEV): pyproject.toml requirements/dev.txt | $(BIN)/python
	@echo "Installing Soma and its tools into .venv" >&2
	@$(INSTALL) --require-hashes -r requirements/dev.txt
	@$(INSTALL_SOMA)
	@touch $(BASE) $@
