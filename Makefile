# `make demo` and `make test` need only make and Python 3.11 or newer. Packages are installed into .venv once, and again
# when a lock file or pyproject.toml changes.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check --no-warn-script-location
UV_VERSION := 0.13.9
IN_PARALLEL := -n 4 --dist worksteal

MADE := $(VENV)/.stamp-made
RUNTIME := $(VENV)/.stamp-runtime
DEV := $(VENV)/.stamp-dev
BENCH := $(VENV)/.stamp-bench

.DEFAULT_GOAL := help
.PHONY: help demo dev test test-all test-rest test-alone check format messages client docs release fuzz svix-clients drill production-like bench audit lock clean FORCE

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## Start everything and show the delivery of one event (DEMO_ONCE=1 exits afterwards)
	@$(BIN)/hookkeeper demo $(if $(filter 1,$(DEMO_ONCE)),--once) $(ARGS)

dev: $(RUNTIME) ## Start Temporal, a worker and the API, and keep them running
	@$(BIN)/hookkeeper dev $(ARGS)

OR_NONE = || { code=$$?; test $$code = 5 || exit $$code; }  # 5: ARGS select none. CI reads the others: scripts/ci.py

test test-rest test-alone: export PYTHONDONTWRITEBYTECODE :=  # where it is set, each process that a test starts compiles all modules
test: $(DEV) ## Test what is pure, and each promise of the docs through a real Temporal server (ARGS="-k signing" selects some)
	@$(BIN)/python -m pytest $(IN_PARALLEL) -m "pure or promise" $(ARGS) $(OR_NONE)

test-all: test test-rest test-alone ## Test everything: also each case beside a promise, drills, docs, the chart, releases, pages in a browser

test-rest: $(DEV)
	@$(BIN)/python -m pytest $(IN_PARALLEL) -m "not (pure or promise or alone)" $(ARGS) $(OR_NONE)

test-alone: $(DEV)
	@$(BIN)/python -m pytest -m alone $(ARGS) $(OR_NONE)

svix-clients: $(DEV) ## Let Svix's clients for JavaScript and Go, and its command line, call the API, where npm, go and svix are installed
	@SVIX_CLIENTS=1 $(BIN)/python -m pytest tests/extensions/svix/test_svix_other_clients.py $(ARGS)

check: $(DEV) ## Check format, lint, types, imports, sizes and rooms
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.sizes --check
	$(BIN)/python -m scripts.house > /dev/null

format: $(DEV) ## Format the code and apply the safe lint fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

messages: $(DEV) ## Collect the texts of the pages into the files of translations, which have those of all languages
	@mkdir -p build
	@$(BABEL) extract -F pyproject.toml -k ValueError -k Invalid --no-location --sort-by-file -o build/pages.pot .
	@for language in dashboard/locales/*/; do $(BABEL) update -D pages -d dashboard/locales -l $$(basename $$language) \
	  -i build/pages.pot -w 120 --no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date; done

BABEL = $(BIN)/python -m babel.messages.frontend -q

client: $(DEV) ## Write the Python client's models and methods from the OpenAPI document
	@$(BIN)/python -m scripts.client

docs: $(DEV) ## Build the documentation into build/site; fails for broken links
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet $(ARGS)
	@echo "Open build/site/index.html"

release: $(DEV) ## Build the files of a release from the tag of this commit into build/release (BASE, SOURCE, VERSION)
	@$(BIN)/python -m scripts.release $(if $(BASE),--base '$(BASE)') $(if $(SOURCE),--source '$(SOURCE)') \
	  $(if $(VERSION),--version '$(VERSION)') $(ARGS)

fuzz: $(DEV) ## Test the API with generated requests for ten minutes (FUZZ_SECONDS, FUZZ_SEED)
	@seed=$${FUZZ_SEED:-$$(date +%s)}; echo "FUZZ_SEED=$$seed"; \
	  FUZZ_SECONDS=$${FUZZ_SECONDS:-600} FUZZ_SEED=$$seed $(BIN)/python -m pytest -p no:xdist tests/more/test_fuzz.py $(ARGS)

drill: $(DEV) ## Kill processes for ten minutes (DRILL_SECONDS, DRILL_RATE, DRILL_SEED), and verify that nothing is lost
	@$(BIN)/python -m drills $(if $(DRILL_SECONDS),--seconds $(DRILL_SECONDS)) $(if $(DRILL_RATE),--rate $(DRILL_RATE)) \
	  $(if $(DRILL_SEED),--seed $(DRILL_SEED)) $(ARGS)

# Temporal's server is built by Go, once, in up to half an hour; DRILL_TEMPORAL_SERVER names a folder that has it.
production-like: $(DEV) ## Run drills, tests and a benchmark on a stack as in production, without Docker (ARGS="--only slow")
	@$(BIN)/python -m drills production $(ARGS)

bench: $(BENCH) ## Compare throughput, latency and CPU with bare Temporal and Celery (S=throughput: one scenario)
	@$(BIN)/python -m benchmarks $(S) $(if $(C),--contenders $(C)) $(ARGS)

# The last line of its error output has the result. If the service does not answer, that is a failure too.
audit: $(DEV) ## Check locked packages for known vulnerabilities, in PyPI's list (ARGS="-s osv": OSV's)
	@$(BIN)/pip-audit --strict --require-hashes --disable-pip --progress-spinner off \
	  -r requirements.lock -r requirements-server.lock -r requirements-dev.lock -r requirements-bench.lock $(ARGS) 2>$(VENV)/.audit; code=$$?; tail -n 1 $(VENV)/.audit >&2; \
	  test $$code = 0 || grep -q '^Found ' $(VENV)/.audit || echo "Not every package could be checked." >&2; \
	  exit $$code

# The build backend is locked too: the project itself is installed without build isolation.
lock: $(MADE) ## Update the lock files from pyproject.toml (ARGS=--upgrade for the newest versions)
	@$(PIP) uv==$(UV_VERSION)
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])' \
	  | tr ' ' '\n' | $(COMPILE) pyproject.toml - --output-file requirements.lock
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["server"])' \
	  | tr ' ' '\n' | $(COMPILE) - --constraint requirements.lock --output-file requirements-server.lock
	@$(COMPILE) pyproject.toml --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	@$(COMPILE) pyproject.toml --extra bench --constraint requirements-dev.lock --output-file requirements-bench.lock
	@echo "Wrote requirements.lock, requirements-server.lock, requirements-dev.lock and requirements-bench.lock"

COMPILE = UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
  --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links $(ARGS)

clean: ## Remove .venv and caches, but not the data in .hookkeeper
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A .venv that was copied or moved contains the paths of another folder, so it is created again.
ifneq ($(shell grep -cF '$(CURDIR)/$(VENV)' $(VENV)/pyvenv.cfg 2>/dev/null),1)
$(MADE): FORCE
endif

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Hookkeeper needs Python 3.11 or newer, and '$(PYTHON)' is: $$($(PYTHON) --version 2>&1 || true)"; \
	  echo "Use another one: make PYTHON=python3.12"; exit 1; } >&2
	@$(PYTHON) -m venv --clear $(CURDIR)/$(VENV)
	@touch $@

$(RUNTIME): $(MADE) requirements.lock requirements-server.lock pyproject.toml
	@echo "Installing packages (once, about a minute)…"
	@$(PIP) --require-hashes -r requirements.lock -r requirements-server.lock
	@PYTHONWARNINGS=ignore $(PIP) --no-deps --no-build-isolation --editable .  # setuptools warns of every editable package
	@touch $@

$(DEV): $(RUNTIME) requirements-dev.lock clients/python/pyproject.toml
	@echo "Installing the tools for tests and checks (once)…"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@PYTHONWARNINGS=ignore $(PIP) --no-deps --no-build-isolation --editable clients/python
	@touch $@

$(BENCH): $(RUNTIME) requirements-bench.lock
	@echo "Installing what the benchmarks compare with (once)…"
	@$(PIP) --require-hashes -r requirements-bench.lock
	@touch $@
