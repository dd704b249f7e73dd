# make demo and make test need Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
STAMP := $(VENV)/.installed
SHELL := /bin/bash

.PHONY: demo test lint types unit agreement container locks figures site accuracy frozen calibration alignment fields benchmark pictures clean

# torch goes first and alone: pinned exactly, a resolver takes the CPU build where one is offered.
$(STAMP): setup.cfg pyproject.toml
	@echo "== making $(VENV) and installing mscord (some minutes the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$$(sed -n 's/^ *\(torch==.*\)/\1/p' setup.cfg)"
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	@touch $@

demo: $(STAMP)
	@rm -rf $(DEMO)
	@echo "== 1 of 3: simulating a dataset of 4 participants"
	$(BIN)/mscord-simulate $(DEMO)/bids --participants 4 --seed 0
	@echo "== 2 of 3: looking for lesions"
	$(BIN)/mscord $(DEMO)/bids $(DEMO)/derivatives participant --work-dir $(DEMO)/work
	@echo "== 3 of 3: tables of the group"
	$(BIN)/mscord $(DEMO)/bids $(DEMO)/derivatives group
	@echo "== done. Reports:"
	@ls -1 $(abspath $(DEMO))/derivatives/sub-*.html

test: lint types unit

lint: $(STAMP)
	@echo "== ruff and import-linter"
	$(BIN)/ruff check bids_app tests
	$(BIN)/ruff format --check bids_app tests
	$(BIN)/lint-imports

types: $(STAMP)
	@echo "== mypy"
	$(BIN)/mypy

unit: $(STAMP)
	@echo "== pytest"
	$(BIN)/pytest

# The counting of lesions beside panoptica, whose pins do not go together with those of the tools above: in an environment of its own.
agreement: $(VENV)-agreement/.installed
	@echo "== lesion counts beside panoptica"
	$(VENV)-agreement/bin/python -m pytest -q -p no:cacheprovider --noconftest -o addopts= tests/test_agreement.py

$(VENV)-agreement/.installed:
	$(PYTHON) -m venv $(VENV)-agreement
	$(VENV)-agreement/bin/python -m pip install --quiet "panoptica>=2,<3" "pytest>=8,<10" "hypothesis>=6.100,<7"
	@touch $@

# The Docker image without SCT, built and run as the least privileged of users would, where an engine can be started.
container:
	@bash .ci/container

# The versions and checksums that the images are built with, made anew from setup.cfg (needs uv).
CPU_LINKS ?= https://download.pytorch.org/whl/cpu/torch/
LOCK := uv pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11 --python-platform x86_64-unknown-linux-gnu
locks:
	$(LOCK) setup.cfg -o locks/cuda.txt
	$(LOCK) setup.cfg locks/cpu.in --constraints locks/cuda.txt --find-links $(CPU_LINKS) -o locks/cpu.txt
	$(LOCK) locks/build.in --constraints locks/cuda.txt -o locks/build.txt

# Time and memory on a BIDS folder: make figures DATA=folder
figures: $(STAMP)
	$(BIN)/python -m bids_app.figures $(DATA) $(DEMO)/figures

# Time and memory beside targets and peers: writes benchmark.tsv and benchmark.svg into build/benchmark
benchmark: $(STAMP)
	$(BIN)/python -m bids_app.benchmark build/benchmark

# What 10,000 participants would take, from a few that are measured
site: $(STAMP)
	$(BIN)/python -m bids_app.benchmark.site

# How good the weights are: make accuracy [DATA=folder that holds the public development scans]; the table is also build/accuracy.tsv
accuracy: $(STAMP) frozen
	$(BIN)/python -m bids_app.accuracy $(DATA) --frozen $(FROZEN) --table build/accuracy.tsv

# Samples that stay the same: made by the simulator of version 0.1.0, from the history of this repository (some minutes the first time)
FROZEN ?= build/frozen
frozen: $(STAMP)
	@mkdir -p build/v0.1.0 $(FROZEN)
	@test -d build/v0.1.0/bids_app || git archive 414b30c bids_app | tar -x -C build/v0.1.0
	PYTHONPATH=build/v0.1.0 $(BIN)/python -P bids_app/accuracy/make_frozen.py $(FROZEN)

# How far a lesion's probability can be believed: make calibration [WRITE=--write puts it on the model card]
calibration: $(STAMP)
	$(BIN)/python -m bids_app.accuracy.calibration $(WRITE)

# How well rigid alignment undoes known perturbations: make alignment [DATA=public development scans]
alignment: $(STAMP)
	$(BIN)/python -m bids_app.accuracy.alignment $(DATA)

# The built-in localiser on simulated scans of every part of the spine
fields: $(STAMP)
	$(BIN)/python -m bids_app.accuracy.fields

# The development scans with their cords, and aligned pairs: make pictures DATA=public development scans
pictures: $(STAMP)
	$(BIN)/python -m bids_app.accuracy.pictures $(DATA) docs

clean:
	rm -rf $(VENV) $(VENV)-agreement $(DEMO) build *.egg-info
