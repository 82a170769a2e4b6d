# make demo   the whole road on the nano model, and a page to look at       make test   the tests
# make lint   ruff and mypy        make e2e   the slow end-to-end tests     make clean  remove what was built
# make docs    the documentation as a web site, in site/
# make libero   LIBERO with its assets, the windowless OpenCV kept
# make gpu    what reasoning costs on this machine's GPU, at most 8 minutes; goes on where it stopped
# make dist    a wheel and a source archive, in dist/
# make soak   10,000 requests from 8 clients and 10,000 malformed messages, against a served checkpoint
SHELL := /bin/sh
VENV  ?= .venv
BIN   := $(VENV)/bin
LIBERO_KIT ?= ../shared/libero
STAMP := $(VENV)/.installed
# A person at a terminal sees pip's progress bars; a log does without.
QUIET := $(shell [ -t 2 ] || echo -q)

# Nothing here needs the network once the installation is done.
OFFLINE := HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 WANDB_MODE=disabled

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format e2e soak gpu docs dist doctor libero constraints clean

help:
	@sed -n '1,7p' Makefile | sed 's/^# *//'

install: $(STAMP)

# Done once, and again whenever the dependencies change.
$(STAMP): pyproject.toml constraints.txt
	@set -e; if [ ! -x $(BIN)/python ]; then \
		python="$$(PYTHON='$(PYTHON)' sh scripts/find_python.sh)"; \
		echo "Using $$python"; "$$python" -m venv $(VENV); fi
	@echo "Installing into $(VENV): minutes, mostly PyTorch"
	$(BIN)/python -m pip install --disable-pip-version-check $(QUIET) -c constraints.txt -e '.[dev]'
	@touch $@

demo: install
	$(OFFLINE) $(BIN)/inspire demo $(ARGS)

# As many files at once as there are cores, at most four: each process takes up to 3 GB.
test: install
	$(OFFLINE) $(BIN)/python -m pytest -m 'not e2e' -n auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

e2e: install
	$(OFFLINE) $(BIN)/python -m pytest -m e2e --timeout 3600 $(ARGS)

soak: install
	$(OFFLINE) $(BIN)/python -m tests.serving.stress --out runs/soak.json $(ARGS)

# Needs torch, transformers and timm alone; no installation. `make gpu PYTHON=python3` takes another interpreter.
gpu:
	$(OFFLINE) $(or $(PYTHON),$(wildcard $(BIN)/python),python3) benchmarks/gpu.py $(ARGS)

docs: install
	$(OFFLINE) $(BIN)/mkdocs build -q

# The wheel is built from the source archive, with the installed setuptools.
dist: install
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .

doctor: install
	@$(BIN)/inspire doctor

# LIBERO asks for opencv-python, which writes its files over those of the headless one that is pinned here.
libero: install
	$(BIN)/python -m pip install --disable-pip-version-check $(QUIET) -c constraints.txt -e '.[dev,libero]'
	$(BIN)/python -m pip uninstall -q -y opencv-python
	$(BIN)/python -m pip install --disable-pip-version-check $(QUIET) --force-reinstall --no-deps -c constraints.txt \
		opencv-python-headless
	$(BIN)/python scripts/libero_assets.py $(LIBERO_KIT)

# After `make libero`, for the versions of LIBERO's packages.
constraints: libero
	$(BIN)/python -m pip install --disable-pip-version-check $(QUIET) -e '.[dev,ray]'
	$(BIN)/python scripts/write_constraints.py > constraints.txt

clean:
	rm -rf build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
