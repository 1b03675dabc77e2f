# make run: see it work. make test lint: what every change has to pass. make help: all there is.

PYTHON ?= python3
PORT ?= 3000
PROVIDER_PORT ?= 8099
POSTGRES_PORT ?= 5499
OFFPEAK_PROVIDER ?= local
export OFFPEAK_PROVIDER

# One more than two cores: some tests mostly wait for Dagster's own loops.
WORKERS ?= 3

BIN := .venv/bin
FAMILIES := ticket_labels,document_embeddings,support_dashboard

UP := --port $(PORT)
UP += $(if $(filter 1,$(ALL)),--all,--select $(FAMILIES))
# With ONCE=1 nobody is there to change a row, and what listens for changes would only take time from the run.
UP += $(if $(filter 1,$(ONCE)),--once,--then "$(BIN)/offpeak sources listen")

ifeq ($(OFFPEAK_PROVIDER),local)
  PORTS := PORT=$(PORT) PROVIDER_PORT=$(PROVIDER_PORT)
  export OFFPEAK_LOCAL_URL := http://127.0.0.1:$(PROVIDER_PORT)
  UP += --alongside "$(BIN)/python -m local_provider --port $(PROVIDER_PORT) --data .offpeak/local_provider"
  UP += --wait-for 127.0.0.1:$(PROVIDER_PORT) --simulated --next-steps docs/next-steps.txt
else ifeq ($(OFFPEAK_PROVIDER),live)
  PORTS := PORT=$(PORT)
  UP += --quote --skip-without-key
else
  $(error OFFPEAK_PROVIDER is "$(OFFPEAK_PROVIDER)": it is either local or live)
endif

# The password is in none of these: both drivers find it through PGPASSFILE.
ifeq ($(POSTGRES),1)
  SERVER := 127.0.0.1:$(POSTGRES_PORT)
  ifneq ($(filter-out postgresql+psycopg://offpeak@$(SERVER)/offpeak,$(OFFPEAK_DATABASE_URL)),)
    $(error OFFPEAK_DATABASE_URL is set already: unset it, or leave POSTGRES=1 away to use the database it names)
  endif
  PORTS += POSTGRES_PORT=$(POSTGRES_PORT)
  SHARED := OFFPEAK_DATABASE_URL DAGSTER_POSTGRES_URL PGPASSFILE
  export OFFPEAK_DATABASE_URL := postgresql+psycopg://offpeak@$(SERVER)/offpeak
  export DAGSTER_POSTGRES_URL := postgresql://offpeak@$(SERVER)/dagster
  export PGPASSFILE := $(CURDIR)/.offpeak/postgres/pgpass
  WITH := $(BIN)/python scripts/embedded_postgres.py --data .offpeak/postgres --port $(POSTGRES_PORT)
  WITH += --database offpeak --database dagster --
endif

.DEFAULT_GOAL := help
.PHONY: help run test test-faults lint bench bench-parked bench-sources bench-changed-rows bench-waking bench-background bench-nights bench-audit-usage bench-audit-code docs lock venv clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Variables: PORT, PROVIDER_PORT, POSTGRES_PORT, PYTHON, WORKERS (of make test); OFFPEAK_PROVIDER=live buys from the real providers."

run: venv ## Start everything and materialise; ONCE=1 ends when it landed, ALL=1 takes every asset, POSTGRES=1 stores in Postgres
	@$(BIN)/python scripts/check_ports.py $(PORTS)
	@$(if $(OFFPEAK_SOURCE_URL),,$(BIN)/python -m resources.sample_data load)
	@$(BIN)/python scripts/write_shell_settings.py $(SHARED)
	@exec $(WITH) $(BIN)/offpeak up $(UP)

# By default files with few tests come last, which are the long ones; by name, the short ones of tests/unit do.
test: venv ## Run the tests; ARGS="-k name" for some of them
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-faults: venv ## Run the slow tests: Dagster on Postgres, processes killed anywhere, and 500 simulated schedules of faults
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/faults $(ARGS)
	@$(BIN)/python -m tests.simulation

lint: venv ## Check style, types, the direction of imports, and that contracts.lock agrees
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy --strict scripts
	@$(BIN)/lint-imports
	@$(BIN)/offpeak contracts check

bench: venv ## Measure 50,000 requests beside a plain script
	@$(BIN)/python tests/bench/bench_requests.py

bench-parked: venv ## Measure a thousand parked runs beside Dagster's own queue; ARGS=--postgres for storage there
	@$(BIN)/python -m tests.bench.bench_parked $(ARGS)

bench-sources: venv ## Measure what knowing the changed rows of a million costs, and what it costs who writes them
	@$(BIN)/python -m tests.bench.bench_sources $(ARGS)

bench-changed-rows: venv ## Measure a plan over changed rows beside one over all; ARGS="--rows 1000000"
	@$(BIN)/python -m tests.bench.bench_changed_rows $(ARGS)

bench-waking: venv ## Measure how long it takes from a row's commit in Postgres to the run that takes it up
	@$(BIN)/python -m tests.bench.bench_waking $(ARGS)

bench-background: venv ## Measure how much of a provider's rate limits the background lane uses
	@$(BIN)/python -m tests.bench.bench_background $(ARGS)

bench-nights: venv ## Simulate a thousand nights: deadlines kept, and at what price; FIXTURE=path for nights of your own
	@$(BIN)/python -m tests.bench.bench_nights $(if $(FIXTURE),--fixture $(FIXTURE)) $(ARGS)

bench-audit-code: venv ## Measure how often the audit of code is right; ARGS="--archives FOLDER" with the packages
	@$(BIN)/python -m tests.bench.bench_audit_code $(ARGS)

bench-audit-usage: venv ## Measure finding the jobs in a log of a million calls; ARGS="--format csv" for another kind
	@$(BIN)/python -m tests.bench.bench_audit_usage $(ARGS)

docs: venv ## Write anew what is written from the code: the command reference, and the page on lanes
	@$(BIN)/python scripts/write_command_reference.py
	@$(BIN)/python scripts/write_lanes_page.py

lock: ## Resolve requirements.lock anew (needs uv)
	@uv pip compile --quiet --universal --extra postgres --extra reports --group project --group dev \
	  --generate-hashes --no-header --no-annotate --python-version 3.11 \
	  -o requirements.lock pyproject.toml

venv: ## Make .venv from requirements.lock, where it is missing, half made or old
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here; Offpeak needs Python 3.11 or newer: choose one with PYTHON." >&2; exit 1; }
	@$(PYTHON) scripts/make_venv.py

clean: ## Remove .venv and caches; the ledger and results in .offpeak stay
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .tmp_dagster_home_*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
