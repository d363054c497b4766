# make demo    installs what it needs and runs workflows/graphite_alkali.yaml
# make test    installs what it needs and passes the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements/constraints.txt
CAMPAIGN := graphite_alkali

.PHONY: help demo test bench gpaw lint docs clean

help:  ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.demo  ## Install what the demo needs, then run it
	$(BIN)/hts run workflows/$(CAMPAIGN).yaml
	$(BIN)/hts results $(CAMPAIGN) --plot $(CAMPAIGN).png
	@echo "the database goes on running; stop it with: $(BIN)/hts db stop"

test: $(VENV)/.test  ## Install what the tests need, then run them (engines that are missing are skipped, saying so)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

bench: $(VENV)/.test  ## Compare with FireWorks (its SLURM part needs root) and other screening programs, see benchmarks/
	$(BIN)/python benchmarks/launching.py
	$(BIN)/python benchmarks/reconciling.py
	$(BIN)/python benchmarks/screening.py
	$(BIN)/python benchmarks/dashboard.py
	$(BIN)/python benchmarks/grain_boundaries.py

# GPAW is C++, but is compiled by whatever CC names.
gpaw: $(VENV)/.torch  ## Build GPAW into .venv; needs Debian's g++ libxc-dev libopenblas-dev or the like
	CC=g++ $(PIP) gpaw gpaw-data dftd3

lint: $(VENV)/.test  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.test  ## Build the documentation into site/
	$(BIN)/mkdocs build --strict

clean:  ## Remove the environment and everything that is built
	rm -rf $(VENV) site build *.egg-info

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; set one with: make PYTHON=/path/to/python3.11 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

# torch goes in first, on its own: what depends on it would otherwise bring another build of it.
$(VENV)/.torch: $(BIN)/pip requirements/constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
	$(PIP) torch==2.13.0
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	@echo "installing into $(VENV) (two to three minutes the first time)"
	$(PIP) --editable '.[local,sevennet,tight-binding]'
	@touch $@

$(VENV)/.test: $(VENV)/.torch pyproject.toml
	@echo "installing into $(VENV) (two to three minutes the first time)"
	$(PIP) --editable '.[local,sevennet,chgnet,conductivity,descriptors,tight-binding,dev]'
	@touch $@
