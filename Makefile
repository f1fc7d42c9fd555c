## xnorlit: train, compare and pack binary networks

PYTHON ?= python3
SEED ?= 0
GRID ?= smallest
NETWORK ?= cifar10-best
# One more than there are cores: some tests wait for servers, processes and signals.
WORKERS ?= $(shell expr $$(nproc) + 1)
VENV := .venv
STAMP := $(VENV)/.stamp
XNORLIT := $(VENV)/bin/xnorlit
RUN := $(VENV)/bin/python -m
KERNELS := $(wildcard $(addprefix xnorlit/packed/kernels/,*.cpp *.h *.inc include/*.h) tests/packed/*.cpp tests/packed/*.c examples/c/*.c)

# Quote an argument for the shell, with its blanks and quotes.
quote = '$(subst ','\'',$(1))'

ON_DATA = $(1) $(if $(DATA),--data $(call quote,$(DATA))) $(if $(EXPERIMENT),--experiment $(call quote,$(EXPERIMENT)))
TRAIN = $(call ON_DATA,$(XNORLIT) train $(1)) --seed $(SEED) --run.resume auto $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup train-xnor train-float train-bwn compare report sync pack web bench ablation cifar10-table notebooks docs test faults mutants test-wheel test-lowest wheel audit lint format clean FORCE

help:
	@awk '/^##/ { sub(/^## ?/, ""); print; next } \
	      /^[a-z0-9-]+:.*## / { name = $$1; sub(/:.*/, "", name); sub(/^.*## /, ""); printf "  make %-14s %s\n", name, $$0 }' \
	  $(MAKEFILE_LIST)

train-xnor: $(STAMP) ## train AlexNet-XNOR (the first target that you run also creates .venv, which takes some minutes)
	@$(call TRAIN,xnor)

train-float: $(STAMP) ## train its float twin
	@$(call TRAIN,float)

train-bwn: $(STAMP) ## train the arm with binary weights and float inputs
	@$(call TRAIN,bwn)

compare: $(STAMP) ## print the newest pair's table, beside the paper's results
	@$(XNORLIT) compare $(ARGS)

report: $(STAMP) ## write the newest pair's HTML page, and its W&B report if you are logged in: PAIR=experiment/pair, BENCH=file.json
	@$(XNORLIT) report $(if $(PAIR),$(call quote,$(PAIR))) $(if $(BENCH),--bench $(call quote,$(BENCH))) $(ARGS)

sync: $(STAMP) ## upload offline runs to W&B; repeat it to continue (RUNS=folder for some of them)
	@$(XNORLIT) sync $(if $(RUNS),$(call quote,$(RUNS))) $(ARGS)

pack: $(STAMP) ## pack the newest run into bits and measure its size and accuracy; without a run, random weights
	@$(XNORLIT) pack --or-random-weights $(ARGS)

web: $(STAMP) ## build the engine for browsers, and a page in build/web/ that runs a network: NETWORK=packed.safetensors or a name (needs emscripten)
	@command -v emcmake > /dev/null || { echo "make web needs emscripten: apt-get install emscripten"; exit 1; }
	emcmake cmake -S xnorlit/packed/kernels -B build/web -DCMAKE_BUILD_TYPE=Release
	cmake --build build/web
	cp build/web/xnorlit.wasm xnorlit/report/html/
	@$(XNORLIT) web $(call quote,$(NETWORK)) --out $(call quote,build/web/$(basename $(notdir $(NETWORK))).html) $(ARGS)

bench: $(STAMP) ## measure the newest packed network against torch and onnxruntime; without one, random weights
	@$(XNORLIT) bench $(ARGS)

ablation: $(STAMP) ## train the missing runs of a grid of settings, then print its tables: GRID=smallest; ARGS=--dry-run lists them
	@$(call ON_DATA,$(XNORLIT) ablate $(call quote,$(GRID))) $(ARGS)

cifar10-table: $(STAMP) ## train the missing arms of experiments/cifar10 and write its README's table (hours; repeat it to continue)
	@$(XNORLIT) table cifar10 $(if $(DATA),--data $(call quote,$(DATA))) --thorough float,bwn,xnor,dorefa,best,best-20 $(ARGS)

notebooks: $(STAMP) ## render the result notebooks as HTML in notebooks/results/ (ARGS=04 for one); without runs, it trains brief ones
	@$(VENV)/bin/python scripts/notebooks.py $(ARGS)

docs: $(STAMP) ## build the documentation site into site/; a broken link or reference is an error
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict --quiet $(ARGS)

# Python may write bytecode, whatever the environment says: else each command that a test starts compiles the package again.
test: $(STAMP) ## run all but the slow tests (ARGS='-m slow' for those), in one process more than there are cores
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(RUN) pytest -m "not slow and not gpu" -n $(WORKERS) --dist worksteal $(ARGS)

test-wheel: $(STAMP) ## build the wheel and the sdist, install each outside the checkout, and use it there
	$(RUN) pytest -m slow tests/test_wheel.py $(ARGS)

test-lowest: $(STAMP) ## run the tests with the lowest versions that pyproject.toml declares, in .venv-lowest
	$(VENV)/bin/uv venv --quiet --allow-existing --python $(PYTHON) .venv-lowest
	$(VENV)/bin/uv pip install --quiet --python .venv-lowest --resolution lowest-direct --editable '.[dev]'
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -m "not slow and not gpu" -n $(WORKERS) --dist worksteal $(ARGS)

wheel: $(STAMP) ## build the sdist, and the wheel from it, into dist/
	$(RUN) build

faults: $(STAMP) ## kill, stop and damage trainings, and compare the results bit for bit (ARGS='-k random': 50 kills; '-k torchrun')
	$(RUN) pytest tests/faults -k "not random and not torchrun" $(ARGS)

mutants: $(STAMP) ## inject single faults into the code, and list those that no test detects (hours; ARGS='atomic --most 50')
	$(VENV)/bin/python scripts/mutants.py $(ARGS)

lint: $(STAMP) ## check the code: ruff, clang-format, pyright, codespell
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(VENV)/bin/clang-format --dry-run --Werror $(KERNELS)
	$(RUN) pyright --pythonpath $(VENV)/bin/python
	$(RUN) codespell_lib

audit: $(STAMP) ## check the installed packages for known vulnerabilities (pip-audit; contacts a server)
	$(RUN) pip_audit --skip-editable $(ARGS)

format: $(STAMP) ## format the code, apply ruff's fixes, strip the notebooks' output
	$(VENV)/bin/nbstripout notebooks/*.ipynb
	$(RUN) ruff format .
	$(VENV)/bin/clang-format -i $(KERNELS)
	$(RUN) ruff check --fix .

setup: $(STAMP) ## create .venv and install xnorlit into it; make -B setup repeats it

clean: ## remove everything that make created (.venv, build, caches), except runs/
	rm -rf $(VENV) $(VENV).lock .venv-lowest build dist site .pytest_cache .ruff_cache .hypothesis
	find xnorlit tests -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf xnorlit/report/html/xnorlit.wasm xnorlit/packed/_kernels.*.so $(addprefix xnorlit/packed/kernels/,.cmake CMakeFiles CMakeCache.txt CMakeInit.txt \
	  build.ninja cmake_install.cmake .ninja_deps .ninja_log .skbuild-info.json libnanobind-static.a libxnorlit.a)
	@if [ -d runs ]; then echo "runs/ is kept, because its results took time; remove it by hand if you no longer need it"; fi

# The stamp is written last, so it marks a finished set-up. It holds the path of the checkout: the scripts in .venv/bin
# contain that path, so a moved checkout needs a new .venv.
$(STAMP): pyproject.toml $(wildcard $(addprefix xnorlit/packed/kernels/,CMakeLists.txt *.cpp *.h *.inc include/*.h)) $(if $(shell [ ! -e $(STAMP) ] || [ "$$(cat $(STAMP))" = "$$(pwd -P)" ] || echo moved),FORCE)
	@PYTHON=$(call quote,$(PYTHON)) bash scripts/setup.sh

FORCE:

# `make -j clean setup`, `make -j pack bench` and `make -j sync report` must run one after the other.
ifneq ($(filter clean pack sync,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif

##
## Variables, as in make train-xnor DATA=photos SEED=1:
##   DATA        synthetic (the default, generated in seconds), cifar10, imagenette, imagenet, a folder of class folders
##               (train/ and val/ or test/), or a folder of .beton files
##   EXPERIMENT  a recipe in experiments/; default: chosen by the classes and size of the images
##   NETWORK     a packed file, or a trained network that xnorlit zoo lists; default: cifar10-best
##   GRID        a file in experiments/ablations, by name or path; default: smallest
##   SEED        seed of the initial weights, the sample order and the augmentation; default: 0
##   ARGS        further options, passed on unchanged: make train-xnor ARGS='--help' lists them
##   WORKERS     number of test processes; default: one more than there are cores
##   PYTHON      the Python 3.11+ that creates .venv; default: python3
## The set-up respects pip's settings. On a machine without GPU, an index of CPU-only builds of PyTorch in PIP_INDEX_URL or
## PIP_EXTRA_INDEX_URL saves disk space.
