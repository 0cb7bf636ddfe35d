# One command checks everything: `make test`. `make help` lists the others.

PYTHON ?= python3
PHOTO ?= examples/photos
ARGS ?=
export PHOTO

BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help test check format demo clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile
	@echo '  Variables: PYTHON=python3.12 (to set up), PHOTO=path (demo), ARGS="-k name" (pytest)'

test: check ## Run every check: format, lint, types, tests and doctests
	$(BIN)/python -m pytest --numprocesses auto --dist loadscope $(ARGS)

check: .venv/.dev ## Run the checks that take seconds: format, lint, types
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

format: .venv/.dev ## Format the code and mend what ruff can mend
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

demo: .venv/.core ## Predict examples/photos, or PHOTO=path, and draw it in demo/
	$(BIN)/uprightpose predict "$$PHOTO" --out demo

clean: ## Remove caches, builds and demo/; .venv stays
	rm -rf demo dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests examples -type d -name __pycache__ -prune -exec rm -rf {} +

# A stamp is touched only after a whole installation, so an interrupted one is done again.
# A development installation holds the core too and brings both stamps.
.venv/.core: pyproject.toml
	@$(call install,.)
	@touch .venv/.core

.venv/.dev: pyproject.toml
	@$(call install,.[dev])
	@touch .venv/.core .venv/.dev

define install
"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
  echo 'uprightpose needs Python 3.11 or newer; "$(PYTHON)" is older or missing.' >&2; \
  echo 'Name one: make PYTHON=/path/to/python3.11' >&2; exit 1; }; \
set -e; \
$(PIP) --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear .venv; \
echo 'Installing $(1) into .venv (the first time some minutes and 6 GB, most of it torch) ...'; \
$(PIP) install --editable '$(1)'
endef
