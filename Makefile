# make demo   encode and decode the sample picture with the default install (no torch); a table and a picture
# make test   formatting, lint, types and tests, in an environment of their own
# make docs   the documentation site, in build/docs; a warning is an error
# make clean  remove both environments and what they made
#
# On Linux the torch wheel of PyPI brings CUDA along. For the smaller CPU build:
#   make test TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
TORCH ?= torch==2.13.0
PIP_FLAGS = --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test format docs clean

demo: .venv/installed
	.venv/bin/python -m bifocal.measure.demo

test: .venv-dev/installed
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/ruff check .
	.venv-dev/bin/mypy
	.venv-dev/bin/python -m pytest -q

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

clean:
	rm -rf .venv .venv-dev demo-out
