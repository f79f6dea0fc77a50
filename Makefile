# `make demo` and `make test` are complete: each installs what it needs into .venv first.
# What the installation can be told (PYTHON, TORCH_INDEX_URL, ...) stands in tools/misc/install.sh.

SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
export VENV

# The demo: how much data is generated (only where there is none), and what is trained on it.
DEMO_TRAIN ?= 10000
DEMO_VAL ?= 300
DEMO_SIZE ?= 128
DEMO_CONFIG ?= configs/ppmn/ppmn_r18-fpn_1xb16_shapes-demo.py
# More arguments of tools/train.py, such as --cfg-options train_cfg.max_iters=100
DEMO_TRAIN_ARGS ?=
DEMO_PICTURES ?= 3
DEMO_DATA := data/shapes
DEMO_DATA_FILE := $(DEMO_DATA)/annotations/png_coco_val2017.json
DEMO_WORK_DIR := work_dirs/demo
DEMO_TRAINED := $(DEMO_WORK_DIR)/.trained
DEMO_OUT := out/demo
# Expanded when used, that is after training.
DEMO_CHECKPOINT = $(shell ls -t $(DEMO_WORK_DIR)/best_*.pth 2>/dev/null | head -n 1)

# Small tensors do not gain from more threads, and tests run beside other work.
TEST_THREADS ?= 2
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow lint format clean clean-demo distclean

help: ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

install: ## Create .venv and install mmground and its dependencies (compiles for 10 minutes, once).
	@tools/misc/install.sh

lint: install ## Check style and format.
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check

format: install ## Correct style and format.
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

test: lint ## Install, lint and run the test suite.
	OMP_NUM_THREADS=$(TEST_THREADS) $(BIN)/python -m pytest $(PYTEST_ARGS)

test-slow: lint ## Run the long checks, which `make test` leaves out.
	OMP_NUM_THREADS=$(TEST_THREADS) $(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

demo: $(DEMO_TRAINED) ## Install, generate data, train a small PPMN, evaluate it, ground pictures.
	@test -n "$(DEMO_CHECKPOINT)" || { echo "error: training left no $(DEMO_WORK_DIR)/best_*.pth: run make clean-demo demo" >&2; exit 1; }
	@echo "== Evaluate the best checkpoint"
	$(BIN)/python tools/test.py $(DEMO_CONFIG) $(DEMO_CHECKPOINT) --work-dir $(DEMO_WORK_DIR)/test
	@echo "== Ground $(DEMO_PICTURES) pictures"
	set -o pipefail; \
	$(BIN)/python tools/misc/print_samples.py $(DEMO_CONFIG) --num $(DEMO_PICTURES) | \
	while IFS=$$'\t' read -r image text; do \
	    $(BIN)/python demo/image_demo.py "$$image" "$$text" $(DEMO_CONFIG) $(DEMO_CHECKPOINT) \
	        --out-dir $(DEMO_OUT) </dev/null || exit 1; \
	done
	@echo
	@echo "Done."
	@echo "  pictures    $(DEMO_OUT)/"
	@echo "  numbers     $$(ls -t $(DEMO_WORK_DIR)/test/*/*.json | head -n 1)"
	@echo "  checkpoint  $(DEMO_CHECKPOINT)"
	@echo "Train again from the start with: make clean-demo demo"

$(DEMO_DATA_FILE): | install
	@echo "== Generate $(DEMO_TRAIN) + $(DEMO_VAL) pictures with narratives in $(DEMO_DATA)"
	$(BIN)/python tools/misc/make_shapes.py $(DEMO_DATA) --format png \
	    --train $(DEMO_TRAIN) --val $(DEMO_VAL) --size $(DEMO_SIZE)

$(DEMO_TRAINED): | $(DEMO_DATA_FILE)
	@echo "== Train"
	$(BIN)/python tools/train.py $(DEMO_CONFIG) --work-dir $(DEMO_WORK_DIR) $(DEMO_TRAIN_ARGS)
	@touch $@

clean: ## Remove what building and testing left behind.
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find mmground projects tests tools -type d -name __pycache__ -prune -exec rm -rf {} +

clean-demo: ## Remove the demo's training and its pictures, but not its data.
	rm -rf $(DEMO_WORK_DIR) $(DEMO_OUT)

distclean: clean clean-demo ## Remove .venv and the generated data too.
	rm -rf $(VENV) $(DEMO_DATA)
