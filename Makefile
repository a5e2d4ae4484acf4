# Two commands set up and run everything: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := -e . -e plugins/astrofm-galaxyzoo -e plugins/astrofm-radio -e plugins/astrofm-redshift
export UV_PYTHON_DOWNLOADS := never

.PHONY: demo test lint lock wheels check clean

demo: $(VENV)/.ready ## run the main job offline on mock data and write astrofm-demo/report.html
	$(BIN)/astrofm demo

test: $(VENV)/.ready ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not slow and not gpu and not network"

lint: $(VENV)/.ready ## format, lint, types and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test ## all that CI runs

$(VENV)/.ready: requirements.lock pyproject.toml $(wildcard plugins/*/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "astrofm needs Python 3.11 or newer; found " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps $(PACKAGES)
	@touch $@

lock: ## resolve requirements.lock again for all platforms
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-package astrofm --no-header --all-extras pyproject.toml -o requirements.lock

wheels: $(VENV)/.ready ## build the wheels of the core and of each plugin into dist/
	rm -rf dist
	for package in . plugins/astrofm-galaxyzoo plugins/astrofm-radio plugins/astrofm-redshift; do $(BIN)/python -m build --wheel --installer uv --outdir dist $$package || exit 1; done

clean:
	rm -rf $(VENV) dist build astrofm-demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
