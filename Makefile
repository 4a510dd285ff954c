# make demo   encode and decode the sample picture with the default install (no torch); a table and a picture
# make test   formatting, lint, types and tests, in an environment of their own
# make docs   the documentation site, in build/docs; a warning is an error
# make test-oldest  a smoke test with the oldest versions of what pyproject.toml needs; Python 3.11 to 3.13
# make test-newest  the same with the newest versions, whatever they are
# make clean  remove all environments and what they made
#
# On Linux the torch wheel of PyPI brings CUDA along. For the smaller CPU build:
#   make test TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
TORCH ?= torch==2.13.0
PIP_FLAGS = --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-oldest test-newest format docs clean

demo: .venv/installed
	.venv/bin/python -m bifocal.measure.demo

test: .venv-dev/installed
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/ruff check .
	.venv-dev/bin/mypy
	OMP_NUM_THREADS=1 .venv-dev/bin/python -m pytest -q -n auto --dist loadfile

test-oldest: .venv-oldest/installed
	.venv-oldest/bin/python -m pytest --noconftest -q tests/smoke.py

test-newest:
	test -d .venv-newest || $(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable . pytest
	.venv-newest/bin/python -m pip list
	.venv-newest/bin/python -m pytest --noconftest -q tests/smoke.py

format: .venv-dev/installed
	.venv-dev/bin/ruff check --fix .
	.venv-dev/bin/ruff format .

docs: .venv-dev/installed
	.venv-dev/bin/python -m sphinx --quiet --fail-on-warning --keep-going -c docs . build/docs

.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Bifocal needs Python 3.11 or later; none was found. Install one, or say make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install $(PIP_FLAGS) --editable .
	touch $@

# torch first and by itself: what wants torch afterwards then finds it and pulls no other build.
.venv-dev/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Bifocal needs Python 3.11 or later; none was found. Install one, or say make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv .venv-dev
	.venv-dev/bin/python -m pip install $(PIP_FLAGS) $(TORCH)
	.venv-dev/bin/python -m pip install $(PIP_FLAGS) --editable ".[train,dev]"
	touch $@

# From nothing each time the list changes: an upgrade in place could keep what is newer.
.venv-oldest/installed: pyproject.toml constraints-oldest.txt
	rm -rf .venv-oldest
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-oldest.txt --editable . pytest
	touch $@

clean:
	rm -rf .venv .venv-dev .venv-oldest .venv-newest demo-out
