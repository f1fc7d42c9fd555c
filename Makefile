## xnorlit: what does a binary AlexNet cost, and what does it give?

PYTHON ?= python3
SEED ?= 0
GRID ?= smallest
VENV := .venv
STAMP := $(VENV)/.stamp
XNORLIT := $(VENV)/bin/xnorlit
RUN := $(VENV)/bin/python -m

# One word for the shell, blanks and quotes included.
quote = '$(subst ','\'',$(1))'

ON_DATA = $(1) $(if $(DATA),--data $(call quote,$(DATA))) $(if $(EXPERIMENT),--experiment $(call quote,$(EXPERIMENT)))
TRAIN = $(call ON_DATA,$(XNORLIT) train $(1)) --seed $(SEED) $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup train-xnor train-float train-bwn compare report sync pack bench ablation cifar10-table notebooks docs test lint format clean FORCE

help:
	@awk '/^##/ { sub(/^## ?/, ""); print; next } \
	      /^[a-z0-9-]+:.*## / { name = $$1; sub(/:.*/, "", name); sub(/^.*## /, ""); printf "  make %-14s %s\n", name, $$0 }' \
	  $(MAKEFILE_LIST)

train-xnor: $(STAMP) ## train AlexNet-XNOR (the first target of all also sets up .venv: some minutes, once)
	@$(call TRAIN,xnor)

train-float: $(STAMP) ## train its float twin
	@$(call TRAIN,float)

train-bwn: $(STAMP) ## train the arm with binary weights and float inputs
	@$(call TRAIN,bwn)

compare: $(STAMP) ## the newest pair's table, beside the paper's
	@$(XNORLIT) compare $(ARGS)

report: $(STAMP) ## the newest pair's page, one HTML file, and its W&B page with a login: PAIR=experiment/pair, BENCH=file.json
	@$(XNORLIT) report $(if $(PAIR),$(call quote,$(PAIR))) $(if $(BENCH),--bench $(call quote,$(BENCH))) $(ARGS)

sync: $(STAMP) ## runs that were trained offline, to W&B: goes on where it was stopped (RUNS=folder for some of them)
	@$(XNORLIT) sync $(if $(RUNS),$(call quote,$(RUNS))) $(ARGS)

pack: $(STAMP) ## the newest run in bits: its size and accuracy, measured; random weights where there is no run
	@$(XNORLIT) pack --or-random-weights $(ARGS)

bench: $(STAMP) ## the newest run's packed network beside torch and onnxruntime; random weights where there is none
	@$(XNORLIT) bench $(ARGS)

ablation: $(STAMP) ## a grid of settings, trained where it is missing, then its tables: GRID=smallest; ARGS=--dry-run lists it
	@$(call ON_DATA,$(XNORLIT) ablate $(call quote,$(GRID))) $(ARGS)

cifar10-table: $(STAMP) ## experiments/cifar10/README.md: every arm trained where it is missing (hours; goes on after Ctrl-C)
	@$(XNORLIT) table cifar10 $(if $(DATA),--data $(call quote,$(DATA))) --thorough float,bwn,xnor,dorefa,best $(ARGS)

notebooks: $(STAMP) ## execute the notebooks: pages in notebooks/results/ (ARGS=04 for one); where there are no runs, brief ones
	@$(VENV)/bin/python scripts/notebooks.py $(ARGS)

docs: $(STAMP) ## build the documentation site into site/; a broken link or reference is an error
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict --quiet $(ARGS)

test: $(STAMP) ## the tests, without the slow ones (ARGS='-m slow' for those)
	$(RUN) pytest -m "not slow and not gpu" $(ARGS)

lint: $(STAMP) ## what CI checks besides the tests: ruff, pyright, codespell
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) pyright --pythonpath $(VENV)/bin/python
	$(RUN) codespell_lib

format: $(STAMP) ## format the code, mend what ruff can mend, strip the notebooks
	$(VENV)/bin/nbstripout notebooks/*.ipynb
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

setup: $(STAMP) ## make .venv and install xnorlit into it; make -B setup does it again

clean: ## remove what make made: .venv, build, caches; runs/ stays
	rm -rf $(VENV) $(VENV).lock build dist site .pytest_cache .ruff_cache .hypothesis
	find $(wildcard xnorlit tests benchmarks) -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf xnorlit/packed/_kernels.*.so $(addprefix xnorlit/packed/kernels/,.cmake CMakeFiles CMakeCache.txt CMakeInit.txt \
	  build.ninja cmake_install.cmake .ninja_deps .ninja_log .skbuild-info.json libnanobind-static.a)
	@if [ -d runs ]; then echo "runs/ is kept: the results in it took time; remove it by hand if you mean to"; fi

# The stamp is written last, so it stands for a finished set-up; it holds the folder that .venv was made for,
# since the scripts in .venv/bin name that folder and a moved clone needs new ones.
$(STAMP): pyproject.toml $(wildcard $(addprefix xnorlit/packed/kernels/,CMakeLists.txt *.cpp *.h *.inc)) $(if $(shell [ ! -e $(STAMP) ] || [ "$$(cat $(STAMP))" = "$$(pwd -P)" ] || echo moved),FORCE)
	@PYTHON=$(call quote,$(PYTHON)) bash scripts/setup.sh

FORCE:

# `make -j clean setup`, `make -j pack bench` and `make -j sync report` mean one after the other.
ifneq ($(filter clean pack sync,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif

##
## Variables, as in make train-xnor DATA=photos SEED=1:
##   DATA        synthetic (the default: drawn in seconds), cifar10, imagenette, imagenet, a folder of class folders
##               (train/ and val/ or test/), or a folder of .beton files
##   EXPERIMENT  a recipe of experiments/; without it the image sizes choose one
##   GRID        a file of experiments/ablations, by name or path; the smallest unless given
##   SEED        seed of weights, order and augmentation; 0 unless given
##   ARGS        passed on as it stands: make train-xnor ARGS='--help' lists what a training takes
##   PYTHON      the Python 3.11+ that .venv is made from; python3 unless given
## pip's own settings hold for the set-up: with an index of CPU-only builds of PyTorch in PIP_INDEX_URL or
## PIP_EXTRA_INDEX_URL, a machine without GPU gets by with far less disk space.
