# Two commands do everything from a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test check bench

setup: .venv/.done

.venv/.done: pyproject.toml constraints.txt setup.py $(wildcard src/eyas/native/*.cpp src/eyas/native/*.h)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/eyas demo

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(BIN)/pytest -n auto

# The CPU's benchmarks in under twenty minutes; benchmarks/README.md has the longer ones. The
# committed results are left alone.
SHORT := operators tokenizer startup loading merging generation serve
CUT_SHORT := step long_context memory

bench: setup
	for name in $(SHORT); do $(BIN)/python benchmarks/$$name.py --out build/$$name.json || exit 1; done
	for name in $(CUT_SHORT); do $(BIN)/python benchmarks/$$name.py --short --out build/$$name.json || exit 1; done
