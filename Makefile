# Everything a newcomer needs is here: `make help`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 3
PYTEST = $(BIN)/pytest -n $(JOBS) --dist loadfile
# tests start a hundred services: none shall compile its modules, nor pytest its files, again
unexport PYTHONDONTWRITEBYTECODE
UV_VERSION := 0.13.8
# The newest of the interpreters that are here and new enough; override with `make setup PYTHON=...`.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
MEMBERS := libs/common proto sdk/python $(patsubst %/pyproject.toml,%,$(wildcard services/*/pyproject.toml)) cli
PYPROJECTS := pyproject.toml $(addsuffix /pyproject.toml,$(MEMBERS))
SOURCES := libs services sdk cli tests/support $(wildcard benchmarks)
DATA ?= $(or $(AGENTFLOW_DATA_DIR),.agentflow)
LOAD ?=

.PHONY: help setup lock run test test-fast test-all lint types format docs bench bench-peers proto picture pictures images up down \
	dev-up dev-down status logs simulate fuzz backup migrate-up k8s-deploy install-cli clean

help: ## what there is
	@grep -hE '^[a-z][a-z0-9-]*:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## install everything into .venv (needs Python 3.11+ alone)

$(STAMP): requirements.lock $(PYPROJECTS)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv $(VENV); }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	@echo "installing $$(grep -c '==' requirements.lock) locked packages; the first time this takes a minute or two"
	@$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode --require-hashes --no-deps -r requirements.lock 2>&1 \
		| sed '/^ [-+~] /d'  # without a line for each package
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(addprefix -e ,$(MEMBERS))
	@$(BIN)/python -m compileall -q $(addsuffix /src,$(filter-out proto,$(MEMBERS))) proto/gen
	@touch $(STAMP)

lock: ## pin the newest versions that the pyprojects allow, with hashes (make lock; make setup)
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV); $(BIN)/python -m pip install --quiet "uv==$(UV_VERSION)"; }
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --no-annotate $(PYPROJECTS) --group dev \
		$$(sed -n 's/^name = "\(.*\)"/--no-emit-package \1/p' $(PYPROJECTS)) -o requirements.lock
	@! grep -nE '://|file:|^-e |^agent(flow|ctl)' requirements.lock || { echo "requirements.lock is not portable" >&2; exit 1; }

run: setup ## run the document analysis on the shipped document, or on DOC=path (text, Markdown, HTML, PDF); DATA=DIR
	@$(BIN)/agentctl demo --data-dir "$(DATA)" $(if $(DOC),--doc "$(DOC)")

test: setup ## fast and integration tests, JOBS=3 files at a time
	@$(PYTEST) -m "not slow"

test-fast: setup ## tests that start no server
	@$(PYTEST) -m "not slow and not integration and not e2e and not fault"

test-all: setup ## everything, and other examples of each property
	@$(PYTEST) --hypothesis-profile=explore

simulate: setup ## the engine on virtual time with seeded faults: SEEDS=1000 from START=0, or SEED=42 alone; JOBS=all processors
	@$(BIN)/python tests/simulation/run.py $(if $(filter-out file,$(origin JOBS)),--jobs "$(JOBS)") \
		$(if $(SEED),--seed "$(SEED)",--seeds "$(or $(SEEDS),1000)" --start "$(or $(START),0)")

fuzz: setup ## odd workflows through the engine's code: CASES=20000 from START=0, or CASE=42 alone; JOBS=all processors
	@$(BIN)/python tests/fuzz/run.py $(if $(filter-out file,$(origin JOBS)),--jobs "$(JOBS)") \
		$(if $(CASE),--case "$(CASE)",--cases "$(or $(CASES),20000)" --start "$(or $(START),0)")

lint: setup ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy $(SOURCES)

types: setup ## mypy alone
	@$(BIN)/mypy $(SOURCES)

format: setup ## let ruff fix what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: setup ## write the parts of docs/ that are made from the code
	@$(BIN)/python -m tests.docs

bench: setup ## benchmarks as JSON lines; ONLY=engine runs one group
	@$(BIN)/python -m benchmarks $(addprefix --only ,$(ONLY))

bench-peers: setup ## ours beside Restate, DBOS, LangGraph, Temporal, each in its own environment; ONLY=restate takes one
	@$(BIN)/python -m benchmarks.peers $(addprefix --only ,$(ONLY))

proto: setup ## generate proto/gen from proto/agentflow
	@$(BIN)/python -m grpc_tools.protoc -I proto --python_out=proto/gen --pyi_out=proto/gen --grpc_python_out=proto/gen \
		proto/agentflow/v1/*.proto

picture: setup ## record a real `make run` as the README's picture
	@$(BIN)/python docs/images/record.py

pictures: setup ## draw the pictures of traces that older code has drawn, from real runs in a real browser (chromium)
	@$(BIN)/python -m tests.docs.pictures

images: ## container image of every service (needs Docker)
	@for service in $(notdir $(wildcard services/*)); do \
		docker build --file deploy/docker/Dockerfile --build-arg SERVICE=$$service --tag agentflow/$$service:dev . ; done

up: setup ## start the embedded stack in the background; DATA=DIR says where its data is, here and below (.agentflow)
	@$(BIN)/agentctl up --detach --data-dir "$(DATA)" $(addprefix --load ,$(LOAD))

down: setup ## stop it
	@$(BIN)/agentctl down --data-dir "$(DATA)"

dev-up: up ## alias of up

dev-down: down ## alias of down

status: setup ## health of every part
	@$(BIN)/agentctl status --data-dir "$(DATA)"

logs: ## follow the logs of the embedded stack
	@test -d "$(DATA)/logs" || { echo "no stack has run in $(DATA): make up" >&2; exit 1; }
	@tail -n 20 -F "$(DATA)"/logs/*.log

backup: setup ## agentctl backup create: stops the stack for the copy and starts it again
	@$(BIN)/agentctl backup create --data-dir "$(DATA)"

migrate-up: up ## apply database migrations: every service does so when it starts
	@echo "the services apply their migrations at start; they are up to date"

k8s-deploy: ## apply a kustomize overlay (OVERLAY=dev)
	@kubectl apply -k deploy/k8s/overlays/$(or $(OVERLAY),dev)

install-cli: setup ## link agentctl into ~/.local/bin
	@mkdir -p "$(HOME)/.local/bin" && ln -sf "$(abspath $(BIN)/agentctl)" "$(HOME)/.local/bin/agentctl"
	@echo "agentctl is in $(HOME)/.local/bin; shell completion: agentctl --install-completion"

clean: ## remove caches (never data)
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
