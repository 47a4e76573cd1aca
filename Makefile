# make run      train a forecasting model on sample data and show it beside its baselines
# make test     run the tests on TensorFlow, and those on JAX that show that the two agree
# make test-all all tests of layers and models on both, and the slow tests
# make lint     style, types, the order of imports between the floors, security
# make audit    known faults of the packages (needs the network)
# make docs     write docs/layers.md from the code, and the site in build/site
# make parity   compare tests/parity/reference.json with the real tensorflow-addons
# make bench    measure what the MoE layer costs, on both backends, and write docs/benchmarks.md
# make bench-forecasting  thousands of series in one model, beside NHITS of neuralforecast
# make clean    remove caches and build outputs (not .venv*, runs or the tracking store)
#
# PYTHON=python3.12 make test uses that interpreter for a new .venv.

PYTHON ?= python3
BIN := .venv/bin
# Two processes, of some 4 GB each; WORKERS=1 make test takes half of that and longer.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)
BOTH_BACKENDS := tests/layers tests/models moe_apps/layers moe_apps/models
# JAX compiles every single operation of an eager test, so by default it runs what agrees with
# TensorFlow by itself (test_every_entry.py), what trains, and the models that are quick to compile.
ON_JAX := $(addprefix tests/layers/,test_every_entry.py test_moe.py test_moe_in_models.py test_sharding.py \
	test_lowering.py dispatch) tests/models/forecasting/test_time_moe.py tests/models/trajectory

export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: run test test-all lint audit docs parity bench bench-forecasting clean
.DELETE_ON_ERROR:

run: .venv/installed-samples
	$(BIN)/moe-apps train forecasting --config configs/weather.yaml

test: .venv/installed-test
	KERAS_BACKEND=tensorflow $(PYTEST)
	KERAS_BACKEND=jax $(PYTEST) $(ON_JAX)

test-all: export XLA_FLAGS ?=
test-all: .venv/installed-test
	KERAS_BACKEND=tensorflow $(PYTEST) -m "slow or not slow"
	KERAS_BACKEND=jax $(PYTEST) -m "slow or not slow" $(BOTH_BACKENDS)

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --recursive --severity-level medium moe_apps

# Known faults of the packages; asks the index of PyPI, so it is no part of lint.
audit: .venv/installed-test
	$(BIN)/uv tool run pip-audit --requirement constraints.txt --no-deps --disable-pip

# A warning of MkDocs fails the build; with --quiet it would not, since then none is counted. The
# variable silences only a notice on what follows Material.
docs: export NO_MKDOCS_2_WARNING := 1
docs: .venv/installed-test .venv/installed-docs
	$(BIN)/python -c 'from moe_apps.layers.catalogue import markdown; print(markdown(), end="")' > docs/layers.md
	$(BIN)/python benchmarks/report.py --tables
	$(BIN)/mkdocs build --strict

parity: .venv-parity/installed
	.venv-parity/bin/python tests/parity/make_reference.py

# Huge pages: gradients of many experts are hundreds of megabytes of fresh memory each step.
bench: export GLIBC_TUNABLES := glibc.malloc.hugetlb=1
bench: .venv/installed-bench .venv/installed-jax .venv/torch-cpu
	set -e; for backend in tensorflow jax; do for part in moe_layer scaling memory; do \
	KERAS_BACKEND=$$backend $(BIN)/python benchmarks/$$part.py; done; done
	$(BIN)/python benchmarks/report.py

bench-forecasting: .venv/installed-bench .venv-neuralforecast/installed
	$(BIN)/python benchmarks/forecasting/many_series.py --peer-python .venv-neuralforecast/bin/python

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -path './.venv*' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each extra: a second call finds it and installs nothing.
.venv/installed-%: setup.cfg pyproject.toml constraints.txt | $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[$*]' \
	|| $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$*]'
	@touch $@

# tensorflow-addons works with nothing that we use, so it has an environment of its own. It needs
# Python 3.11; with another name for it: make parity PARITY_PYTHON=/path/to/python.
PARITY_PYTHON ?= python3.11
.venv-parity/installed: tests/parity/requirements.txt | $(BIN)/uv
	$(PARITY_PYTHON) -m venv .venv-parity
	$(BIN)/uv pip install --quiet --python .venv-parity/bin/python -r $< \
	|| .venv-parity/bin/python -m pip install --quiet -r $<
	@touch $@

# PyTorch's own index has a build without CUDA, and its version sorts before that of PyPI. To do
# without it: make bench TORCH_INDEX=
TORCH_INDEX ?= --extra-index-url https://download.pytorch.org/whl/cpu
.venv/torch-cpu: setup.cfg | .venv/installed-bench
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench-torch]' $(TORCH_INDEX)
	@touch $@

.venv-neuralforecast/installed: benchmarks/forecasting/requirements.txt
	$(PYTHON) -m venv .venv-neuralforecast
	.venv-neuralforecast/bin/python -m pip install --quiet -r $< $(TORCH_INDEX)
	@touch $@

# Where uv cannot be had, the pip of the environment does its work.
$(BIN)/uv: | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt uv || true

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else \
	f"Python 3.11 to 3.13 is needed, this is {v[0]}.{v[1]}: set PYTHON=...")'
	$(PYTHON) -m venv .venv
