# Every target sets up .venv by itself and does so again when setup.cfg or constraints.txt change.

PYTHON ?= python3
# A package index to look at besides the usual one, e.g. https://download.pytorch.org/whl/cpu for torch without CUDA.
TORCH_INDEX ?=
MODEL ?= lhrs-nano
SCENE ?= demo/scenes/spain_flood_s2.tif

BIN := .venv/bin
READY := .venv/.ready
INSTALL = $(BIN)/python -m pip install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help chat demo test test-slow check format test-browser bench nano clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 20

$(READY): setup.cfg pyproject.toml constraints.txt
	@echo "setting up .venv, once; this takes a few minutes"
	$(PYTHON) -m venv .venv
	$(INSTALL) --quiet -e '.[dev,demo,eval,train,prep,osm,ray,clip,grpo,browser]'
	@touch $@

chat: $(READY)  ## ask three questions about a real scene, then yours
	@mkdir -p outputs
	$(BIN)/lhrs-chat chat $(SCENE) --model $(MODEL) \
	  --questions "Describe this scene." "How much of this scene is water?" "Where is the water?" \
	  --overlay outputs/first_chat.png --geojson outputs/first_chat.geojson

demo: $(READY)  ## the same in a web browser
	$(BIN)/python -m demo

test: $(READY)  ## the whole test suite but what is slow or needs a browser, one process a core
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test-slow: $(READY)  ## proofs with the real weights, which are fetched first
	$(BIN)/lhrs-chat ask demo/scenes/crossroads.jpg "What does this image show?" > /dev/null
	$(BIN)/python -m pytest -m "slow and not browser"

check: $(READY)  ## ruff, format, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## let ruff repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-browser: $(READY)  ## drive the demo in a headless Chromium, installed through apt where that is allowed
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	  || { test "$$(id -u)" = 0 && apt-get update && apt-get install -y --no-install-recommends chromium; } \
	  || { echo "no Chromium found: install it, e.g. sudo apt-get install chromium" >&2; exit 1; }
	$(BIN)/python -m pytest -m browser

bench: $(READY)  ## speed against peers, as ratios
	$(BIN)/python -m bench

nano: $(READY)  ## make lhrs-nano again from the data that is there, and measure it
	$(BIN)/python -m data_prep nano --out runs/nano/data
	$(BIN)/python -m training nano
	$(BIN)/python -m training.export runs/nano/settle
	$(BIN)/python -m data_prep probe --data runs/nano/data --out runs/nano/probe
	$(BIN)/python -m eval run nano_probe --data runs/nano/probe --model lhrs-nano --out runs/nano/eval

clean:  ## remove build products and caches; .venv and outputs stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
