# make setup | demo | test | test-slow | test-browser | test-storage | test-gpu | bench-quick | lint | notebooks | clean
# python3 if it will do, else the newest that is there
FITS = import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))
PYTHON ?= $(or $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do \
	$$python -c '$(FITS)' 2>/dev/null && echo $$python && break; done),python3)
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup demo test test-slow test-browser test-storage test-gpu bench-quick lint notebooks clean

setup: $(STAMP)

# torch first and alone: a range that it satisfies then installs no second, larger build of it
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c '$(FITS)' 2>/dev/null || { echo 'Python 3.10 to 3.14 is needed: install one, or name it: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo '$(PYTHON) has no venv: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps pypiqe==1.2 spandrel==0.4.2 einops==0.8.2  # they ask for OpenCV with windows, torchvision
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

# six figures, in five minutes on two cores: what a change may have cost
bench-quick: setup
	$(BIN)/python jobs/bench.py quick

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# run the notebooks and store their pictures
notebooks: setup
	$(BIN)/python -m tests.test_notebooks

clean:
	rm -rf .venv demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
