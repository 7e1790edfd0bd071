# make setup | demo | test | test-slow | test-browser | test-storage | test-gpu | lint | notebooks | clean
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup demo test test-slow test-browser test-storage test-gpu lint notebooks clean

setup: $(STAMP)

# torch first and alone: a range that it satisfies then installs no second, larger build of it
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/qrefine demo demo

test: setup lint
	$(BIN)/pytest

test-slow: setup
	$(BIN)/pytest -m slow

# Debian's chromium, or any other on the PATH: apt-get install chromium
test-browser: setup
	$(BIN)/pytest -m browser

# a Ceph on loopback, from Debian's packages
test-storage: setup
	tests/ceph/ceph.sh install || echo 'Ceph could not be installed: the storage tests are skipped' >&2
	$(BIN)/pytest -m 'storage and not slow' -rs

test-gpu: setup
	$(BIN)/pytest -m gpu

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# run the notebooks and store their pictures
notebooks: setup
	$(BIN)/python -m tests.test_notebooks

clean:
	rm -rf .venv demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
