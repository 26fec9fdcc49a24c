# Everything that is done often. `make serve` and `make test` set up what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: serve test soak bench lint docs clean

# The server: the pinned packages, an ingest token in .env, gunicorn on the address in config.yaml.
serve: $(VENV)/.serve .env
	@exec $(BIN)/gunicorn wsgi:app

# Everything; what is checked in CI too. The fault tests measure: they run one at a time, and
# nothing follows what lines they run.
test: $(VENV)/.test
	$(if $(CI),@$(MAKE) --no-print-directory lint)
ifeq ($(ARGS),)
	$(BIN)/python -m pytest -n 3 --dist loadfile --ignore tests/faults --cov --cov-report=term
	$(BIN)/python -m pytest tests/faults
else
	$(BIN)/python -m pytest $(ARGS)
endif

# The fault tests, longer: ten rounds of them, the last with 200,000 clients that come and go.
soak: $(VENV)/.test
	@for round in 1 2 3 4 5 6 7 8 9; do $(BIN)/python -m pytest -q tests/faults || exit 1; done
	SOAK_CLIENTS=200000 $(BIN)/python -m pytest -q --timeout 900 tests/faults

# This server beside its peers; bench/README.md says how to read it.
bench: $(VENV)/.bench
	@$(BIN)/python -m bench $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What is made from the code: the JSON Schema that editors check config.yaml with.
docs: $(VENV)/.serve
	$(BIN)/flask sse schema > docs/config.schema.json

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info

$(VENV)/.serve: requirements.txt setup.cfg pyproject.toml
	@echo "Setting up $(VENV): a minute, the first time."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.serve tests/requirements.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

$(VENV)/.bench: $(VENV)/.serve bench/requirements.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	@touch $@

.env:
	@umask 077 && printf 'INGEST_TOKEN=%s\n' "$$($(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(24))')" > .env
	@echo "Made .env with an ingest token of its own."
