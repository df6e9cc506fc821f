# `make` alone lists the targets. Paths stay relative, so that a checkout in a path with spaces works.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := libs/shared libs/runtime services/api services/projector apps/cli
EDITABLE := $(foreach package,$(PACKAGES),-e ./$(package))

.PHONY: help setup
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 14

setup: .venv/.ready ## make .venv with everything

.venv/.ready: requirements.lock Makefile $(foreach package,$(PACKAGES),$(package)/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Agent OS needs Python 3.11 or newer; set PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "The venv module is missing: apt install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation $(EDITABLE)
	@touch $@

lock: ## resolve requirements.lock anew
	$(BIN)/uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-annotate --no-header \
		$(foreach package,$(PACKAGES),--no-emit-package agentos-$(notdir $(package))) \
		--group pyproject.toml:dev pyproject.toml -o requirements.lock
