# Every target does its own set-up; a fresh machine needs only Python 3.11 or newer (and make).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INTEROP_WITH ?= go,rust,js,py
BENCH_OPTIONS ?=
# The tests in as many processes as there are cores; PARALLEL= runs them in one.
PARALLEL ?= --numprocesses auto --dist worksteal

.DEFAULT_GOAL := help
LINTS := lint-style lint-contracts lint-mypy lint-mypy-linux lint-pyright lint-pyright-Linux
.PHONY: help demo test coverage lint $(LINTS) format interop bench engine wheels protobuf clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "peerstack needs Python 3.11 or newer; say make PYTHON=python3.12 ...")'
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.cli: pyproject.toml | $(BIN)/python
	@echo "installing peerstack into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cli]'
	@touch $@

# multiaddr brings trio-typing, whose stubs of an old trio would hide the types that trio itself ships now.
$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "installing the development tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@$(BIN)/python -m pip uninstall --quiet --yes trio-typing
	@touch $@ $(VENV)/.cli

demo: $(VENV)/.cli ## Show the main features in one minute, over real TCP
	@$(BIN)/peerstack demo

test: $(VENV)/.dev ## Run the tests (no network, some minutes)
	@$(BIN)/pytest $(PARALLEL)

coverage: $(VENV)/.dev ## Run the tests and demand 95 % branch coverage of stack, protocols and transports
	@$(BIN)/pytest $(PARALLEL) --cov --cov-report=
	@$(BIN)/coverage report --include='*/peerstack/stack/*,*/peerstack/protocols/*,*/peerstack/transports/*,stack/*,protocols/*,transports/*' --fail-under=95

lint: lint-style lint-contracts lint-mypy lint-pyright ## Check style, types (as on Linux, macOS and Windows) and the dependency rule
lint-mypy: lint-mypy-linux lint-mypy-darwin lint-mypy-win32
lint-pyright: lint-pyright-Linux lint-pyright-Darwin lint-pyright-Windows

lint-style: $(VENV)/.dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

lint-contracts: $(VENV)/.dev
	@$(BIN)/lint-imports

lint-mypy-linux: $(VENV)/.dev
	@$(BIN)/mypy

lint-mypy-%: $(VENV)/.dev
	@$(BIN)/mypy --platform $* --cache-dir .mypy_cache/$* src examples

lint-pyright-Linux: $(VENV)/.dev
	@$(BIN)/pyright --pythonpath $(BIN)/python

lint-pyright-%: lint-pyright-Linux  # which fetches what pyright is made of
	@$(BIN)/pyright --pythonpath $(BIN)/python --pythonplatform $* src

format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

interop: $(VENV)/.dev ## Run the matrix against other implementations (INTEROP_REQUIRE=go,rust,js,py demands them)
	@$(BIN)/python interop/run.py --with $(INTEROP_WITH)
	@$(BIN)/python interop/official/harness.py --with $(INTEROP_WITH)

bench: $(VENV)/.dev ## Measure beside the other implementations and write docs/benchmarks.md (BENCH_OPTIONS=--quick: only look)
	@$(BIN)/python benchmarks/run.py $(BENCH_OPTIONS)

engine: $(VENV)/.dev ## Build the QUIC engine in Rust and install it (needs cargo)
	@command -v cargo >/dev/null || { echo "the engine needs Rust's cargo on the path: see https://rustup.rs"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check ./native

wheels: $(VENV)/.dev ## Build a wheel of the QUIC engine for Linux into dist/ (needs cargo)
	@command -v cargo >/dev/null || { echo "the engine needs Rust's cargo on the path: see https://rustup.rs"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'maturin>=1.8,<2' ziglang
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/maturin build --quiet --release --zig --compatibility manylinux2014 --manifest-path native/Cargo.toml --out dist

protobuf: $(VENV)/.dev ## Generate the protobuf code anew
	@$(BIN)/python tools/generate_protobuf.py

clean: ## Remove what the targets made
	@rm -rf $(VENV) native/target .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov dist build
