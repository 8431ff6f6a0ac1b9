# make demo    run the main job on the emulator, in a real Airflow
# make test    run the tests
# make matrix  run the main job, and kills, in older versions of Airflow
# make chaos   kill tries at every line, and a real Airflow at every step of an order (an hour)
# make mutants break the package on purpose: do the tests notice?
# make bench   measure beside other providers (an hour; QUICK=1: five minutes; ONLY="waiting imports": parts)
# make stack   run a distributed Airflow on this machine: PostgreSQL, Redis, Celery, S3 (needs the packages of the first two)
# make test-stack  kill and stop parts of it, and count what was paid (45 minutes)
# make containers  run the install lines of the Containerfiles in fresh environments, and a staging deployment on two hosts
# make azure   staging and archive in Azure Blob Storage, against Azurite (needs Node.js, and npm's registry)
# make memory  measure the memory of downloads of 500 MB and 2 GB (five minutes; 4 GB of disk)
# make cases   count the cases by which results, inputs and responses are tried, kind by kind
# make check   lint, types (also of what users write), import rules, words of identifiers, models
# make check-all   all that takes long, one after the other (the better part of a day)
# make check-models   check the models of catalog and emulator (ARGS=--write: write the pages made from them)
# make docs    build the documentation
# make wheel   build the package into dist/
# make first-hour  do what the README says, word for word, in an empty folder (needs the package index)
#
# Everything is set up by itself: the Python that is found (3.11 or newer), uv from the package index if it is missing.

SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { command -v $$p; break; }; done)
export UV_PYTHON_DOWNLOADS := never
export UV_PYTHON_PREFERENCE := only-system
VENV := .venv
RUN := $(VENV)/bin/python
UV := $(or $(shell command -v uv 2>/dev/null),.tools/bin/uv)

BENCH := .bench/venv
STACK := .stack/venv
BARE := .stack/bare

.NOTPARALLEL: stack test-stack
.PHONY: demo test stack test-stack stack-programs containers azure bench chaos mutants matrix memory cases check check-all check-models docs wheel first-hour env clean format
demo: env
	@$(RUN) scripts/demo.py

test: env
	$(RUN) -m pytest $(ARGS)

matrix: env
	@$(RUN) scripts/matrix.py $(VERSIONS)

chaos: env
	EVOLINK_SWEEP=every EVOLINK_STEPS=2000000 $(RUN) -m pytest tests/ledger -n2 --dist=load $(ARGS)
	KILLS=30 $(RUN) -m pytest tests/airflow/test_download_kills.py tests/airflow/test_archive_kills.py -n0 $(ARGS)
	EVOLINK_ALL_HOPS=1 $(RUN) -m pytest tests/faults/test_network.py -k hostile_hop -n0 --timeout=900 $(ARGS)
	$(RUN) -m pytest tests/chaos -n0 $(ARGS)

stack-programs:
	@"$(PYTHON)" scripts/distributed/stack_programs.py

stack: stack-programs env $(STACK)/.ready wheel
	@$(UV) pip install --quiet --python $(STACK)/bin/python --no-deps --reinstall dist/*.whl
	@$(RUN) scripts/distributed/stack.py $(ARGS)

# A triggerer of $(BARE) has everything but the provider.
test-stack: stack-programs env $(STACK)/.ready $(BARE)/.ready wheel
	@$(UV) pip install --quiet --python $(STACK)/bin/python --no-deps --reinstall dist/*.whl
	$(RUN) -m pytest tests/distributed -n0 $(ARGS)

containers: env
	$(RUN) -m pytest tests/containers -n0 $(ARGS)

azure: env
	@test -x .azure/bin/python || $(UV) venv --quiet --python "$(PYTHON)" .azure
	@$(UV) pip install --quiet --python .azure/bin/python -r requirements/dev.txt "apache-airflow-providers-microsoft-azure>=11.0.0"
	@$(UV) pip install --quiet --python .azure/bin/python --no-deps --no-build-isolation -e .
	@npm install --silent --no-fund --no-audit --prefix .azure/npm azurite@3.37.0
	AZURITE=$(CURDIR)/.azure/npm/node_modules/azurite/dist/src/blob/main.js AIRFLOW_HOME=$(CURDIR)/.azure/home \
		.azure/bin/python -m pytest tests/azure -n0 $(ARGS)

mutants: env
	@$(RUN) scripts/mutants.py $(ONLY)

bench: $(BENCH)/.ready .bench/aws/.ready
	@$(BENCH)/bin/python benchmarks/run.py $(if $(QUICK),--quick) $(ONLY) $(ARGS)

cases: env
	@$(RUN) scripts/count_cases.py

memory: env
	@$(RUN) benchmarks/memory.py $(ARGS)

check: env check-models
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports
	$(RUN) scripts/identifier_words.py
	@$(RUN) scripts/check_types.py

check-all:
	@for each in check test first-hour matrix mutants containers chaos test-stack; do $(MAKE) --no-print-directory $$each || exit; done

check-models: env
	@$(RUN) scripts/check_models.py $(ARGS)

docs: env
	@rm -rf docs/_build # an interrupted build leaves half a pickle, which would fail this one
	$(RUN) -m sphinx -W --keep-going -b html docs docs/_build

wheel: | $(UV)
	@rm -f dist/*.whl
	@$(UV) build --quiet --wheel --python "$(PYTHON)" --out-dir dist
	@ls dist/*.whl

first-hour: env
	@$(RUN) scripts/first_hour.py $(ARGS)

format: env
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

env: $(VENV)/.ready

$(VENV)/.ready: requirements/dev.txt pyproject.toml | $(UV)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found"; exit 1; }
	@test -x $(RUN) || $(UV) venv --quiet --python "$(PYTHON)" $(VENV)
	@echo "Setting up $(VENV) (once; a minute or two)"
	@$(UV) pip install --quiet --python $(RUN) -r requirements/dev.txt
	@$(UV) pip install --quiet --python $(RUN) --no-deps --no-build-isolation -e .
	@touch $@

$(BENCH)/.ready: requirements/bench.txt pyproject.toml | $(UV)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found"; exit 1; }
	@test -x $(BENCH)/bin/python || $(UV) venv --quiet --python "$(PYTHON)" $(BENCH)
	@echo "Setting up $(BENCH) (once; a minute or two)"
	@$(UV) pip install --quiet --python $(BENCH)/bin/python -r requirements/bench.txt
	@$(UV) pip install --quiet --python $(BENCH)/bin/python --no-deps --no-build-isolation -e .
	@$(BENCH)/bin/python -m compileall -q $(BENCH)/lib >/dev/null 2>&1 || true
	@touch $@

.stack/%/.ready: requirements/stack.txt | $(UV)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found"; exit 1; }
	@test -x .stack/$*/bin/python || $(UV) venv --quiet --python "$(PYTHON)" .stack/$*
	@echo "Setting up .stack/$* (once; a minute or two)"
	@$(UV) pip install --quiet --python .stack/$*/bin/python -r requirements/stack.txt
	@touch $@

.bench/aws/.ready: requirements/bench-aws.txt | $(UV)
	@test -x .bench/aws/bin/python || $(UV) venv --quiet --python "$(PYTHON)" .bench/aws
	@$(UV) pip install --quiet --python .bench/aws/bin/python -r requirements/bench-aws.txt
	@touch $@

.tools/bin/uv:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found"; exit 1; }
	@echo "Fetching uv (once)"
	@mkdir -p .tools
	@"$(PYTHON)" -m venv .tools >/dev/null 2>&1 && .tools/bin/python -m pip install --quiet uv \
		|| { rm -rf .tools; "$(PYTHON)" -m pip install --quiet --target .tools uv; } \
		|| { echo "uv could not be installed: install it by hand (https://docs.astral.sh/uv/)"; exit 1; }

clean:
	rm -rf $(VENV) .azure .bench .stack .tools .demo .chaos .matrix build dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis
