# Every command that a developer needs. `make` alone lists them.

PYTHON ?= python3
PORT ?= 4566
WEB_PORT ?= 8080
CHAOS_PORT ?= 4666
COMPILE = .venv/bin/uv pip compile --quiet --python-version 3.11 --universal --no-emit-index-url --generate-hashes \
	--no-header --no-strip-extras

.DEFAULT_GOAL := help
.PHONY: help environments run reset test lint types unit e2e browser validate build lock clean

help:
	@echo 'make run        the whole system on this machine: backend, demo users, chat page  [PORT=4566] [WEB_PORT=8080]'
	@echo '               with a faulty network between functions and cloud, and processes that end: CHAOS=1 [CHAOS_PORT=4666]'
	@echo 'make reset      forget what the local system has stored'
	@echo 'make test       every check: lint, types, unit, validate, e2e, browser; or one of them by its name'
	@echo 'make build      build the template for AWS (sam build)'
	@echo 'make lock       compile requirements/*.in to the pinned lists'
	@echo 'make clean      remove everything that the other commands have made'
	@echo
	@echo 'Needs Python 3.11 or newer [PYTHON=python3]; make browser needs Chromium.'

# The two virtual environments, made again when the pinned lists change.
environments:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo 'This needs Python 3.11 or newer as $(PYTHON); name another one with: make PYTHON=python3.12 ...' >&2; exit 2; }
	@$(PYTHON) local/environments.py

run: environments
	@.venv/bin/python -m local up --port $(PORT) --web-port $(WEB_PORT) $(if $(CHAOS),--chaos-port $(CHAOS_PORT))

reset: environments
	@.venv/bin/python -m local reset

test lint types unit e2e browser validate: environments
	@.venv/bin/python -m local.checks $@

build: environments
	@PIP='$(CURDIR)/.venv-cloud/bin/python -m pip' SAM_CLI_TELEMETRY=0 .venv-cloud/bin/sam build

lock: environments
	$(COMPILE) layers/common/requirements.in --output-file layers/common/requirements.txt
	$(COMPILE) requirements/dev.in --output-file requirements/dev.txt
	$(COMPILE) requirements/cloud.in --output-file requirements/cloud.txt

clean:
	rm -rf .venv .venv-cloud .local .aws-sam build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -type d -name __pycache__ -prune -exec rm -rf {} +
