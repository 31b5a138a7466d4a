# PYTHON chooses the interpreter that makes the virtual environment, PORT where the demo listens,
# ARGS what pytest is given besides: make test ARGS="tests/events -x". WORKERS is how many processes
# run the tests: most wait more than they compute. SERVER is the command that serves the demo:
# runserver reloads, broadcast_serve is what sites run in production.
PYTHON ?= python3
PORT ?= 8000
SERVER ?= runserver
WORKERS ?= 4
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Tests of one file share servers, so a file stays with one worker.
PYTEST := pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help run test test-all style types coverage docs bench soak scale clean
.DELETE_ON_ERROR:

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: export BROADCAST_URL ?= http://127.0.0.1:$(PORT)
run: $(VENV)/.installed ## Start the demo: make run PORT=8001 SERVER=broadcast_serve
	@$(BIN)/python scripts/check_port.py $(PORT)
	@$(BIN)/python manage.py migrate --no-input --verbosity 0
	@$(BIN)/python manage.py demo_admin
	@exec $(BIN)/python manage.py $(SERVER) $(if $(filter broadcast_serve,$(SERVER)),--port $(PORT),127.0.0.1:$(PORT))

test: $(VENV)/.installed-dev ## Run the tests: make test ARGS="tests/events -x"
	@scripts/install-test-programs
	$(BIN)/python -m $(PYTEST) $(ARGS)

test-all: ## Run the tests on every Python that is here, from 3.11 on, without the pages'
	@scripts/test-all $(ARGS)

style: $(VENV)/.installed-dev ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev ## Check types
	$(BIN)/mypy broadcasting whik tests scripts benchmarks

docs: $(VENV)/.installed-dev ## Build the documentation into build/docs; a warning is an error
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs build/docs
	@echo "Open build/docs/index.html"

coverage: $(VENV)/.installed-dev ## Run the tests and show which lines of broadcasting/ they miss
	@scripts/install-test-programs
	$(BIN)/coverage erase
	$(BIN)/coverage run -m $(PYTEST) $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

bench: $(VENV)/.installed-dev ## Measure: make bench ARGS="--quick", ARGS="--servers broadcast_serve --only fanout"
	@$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/.installed-dev ## Serve a crowd that comes and goes: make soak ARGS="--minutes 60 --redis"
	@$(BIN)/python -m benchmarks.soak $(ARGS)

scale: $(VENV)/.installed-dev ## Serve 10 000 sockets with two servers, one of which dies
	@$(BIN)/python -m benchmarks.scale $(ARGS)

clean: ## Remove the virtual environment, caches and build results; the demo's data stays
	rm -rf $(VENV) .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is the last thing that venv makes, so an interrupted start begins again.
$(BIN)/pip:
	@scripts/make-venv "$(PYTHON)" $(VENV)

# The stamps are older than a changed requirements file, and then its lines are installed again.
$(VENV)/.installed: requirements.txt | $(BIN)/pip
	@echo "Installing requirements.txt into $(VENV)"
	@$(INSTALL) -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements.txt requirements-dev.txt | $(BIN)/pip
	@echo "Installing requirements-dev.txt into $(VENV)"
	@$(INSTALL) -r requirements-dev.txt
	@touch $@ $(VENV)/.installed
