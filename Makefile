# The commands a person types. Each one first brings .venv to what the lock file says and skips that when nothing
# changed, so a second `make up` starts at once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps --only-binary :all:
UV_COMPILE := $(BIN)/python -m uv pip compile --quiet --no-config --universal --generate-hashes --python-version 3.11 \
	--no-emit-index-url --custom-compile-command "make lock"

# Settings are read from the environment alone; lint and types connect to nothing.
SETTINGS := BREAKWATER_SECRET_KEY=unused DATABASE_URL=postgresql://unused@unused/unused REDIS_URL=redis://unused

.PHONY: up test check bench lock

up: $(VENV)/.embedded ## start everything; prints the URL and, the first time, the password of admin
	@exec $(BIN)/python manage.py up

test: $(VENV)/.dev ## the whole suite, with the components it needs; ARGS="-m 'not slow'" passes options to pytest
	@tests/components/install.sh
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev ## lint, types, architecture
	@$(BIN)/python -m ruff check .
	@$(SETTINGS) $(BIN)/python -m mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/architecture

bench: $(VENV)/.dev ## this registry beside its peers, as a table of ratios; ARGS="--rows 'manifest_*' --rounds 1" for a part
	@tests/components/install.sh bench
	@$(BIN)/python -m tests.bench $(ARGS)

lock: $(VENV)/.dev ## write requirements/*.lock anew from pyproject.toml
	$(UV_COMPILE) pyproject.toml -o requirements/runtime.lock
	$(UV_COMPILE) --extra embedded -c requirements/runtime.lock pyproject.toml -o requirements/embedded.lock
	$(UV_COMPILE) --extra embedded --extra dev -c requirements/embedded.lock --override requirements/overrides.txt \
		pyproject.toml -o requirements/dev.lock

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Breakwater needs Python 3.11 or newer as '$(PYTHON)'; name another with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || \
		{ rm -rf $(VENV); echo "Python cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.embedded: requirements/embedded.lock | $(BIN)/python
	@echo "Installing the Python packages of requirements/embedded.lock into $(VENV) (this happens once)"
	@$(PIP) -r requirements/embedded.lock
	@touch $@

# The development lock holds everything of the embedded one, so both stamps are fresh afterwards.
$(VENV)/.dev: requirements/dev.lock | $(BIN)/python
	@echo "Installing the Python packages of requirements/dev.lock into $(VENV) (this happens once)"
	@$(PIP) -r requirements/dev.lock
	@touch $(VENV)/.embedded $@
