# Two commands do everything on a fresh machine: `make reproduce` and `make test`.
# `make help` (or just `make`) lists the rest.

# The first of these that is Python 3.11 to 3.13 is used; name one to choose: PYTHON=python3.12
PYTHON ?= python3 python3.13 python3.12 python3.11
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m
# Written last, so that an interrupted installation is not taken for a finished one.
STAMP := $(VENV)/.finished

# Started first, so that the cores finish together.
LONGEST := tests/test_notebooks.py tests/test_explorer_browser.py
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
on = $(filter-out 0 no false,$(1))
TIER := $(if $(DATA),--data "$(DATA)") $(if $(call on,$(SMALL)),--small)
OPTIONS := $(TIER) $(if $(ALPHA),--alpha $(ALPHA)) $(if $(call on,$(FRESH)),--fresh) $(if $(JOBS),--jobs $(JOBS))

EXTRAS := test face browser build
COMPILE = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
  --no-annotate --no-emit-index-url --quiet --custom-compile-command "make lock" \
  $(if $(call on,$(UPGRADE)),--upgrade)

.DEFAULT_GOAL := help
.PHONY: help reproduce test lint lab explore report verify bench lines lock clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "Options of reproduce: DATA=sample, large or a folder of images   ALPHA=0.75"
	@echo "  NOTEBOOKS=\"02 03\"   SMALL=1 small form   FRESH=1 start over   JOBS=1 one at a time"

reproduce: $(STAMP)  ## Run the notebooks headless and print the study's table beside ours
	@$(RUN) ddlib run $(OPTIONS) $(NOTEBOOKS)

test: $(STAMP)  ## Run every check, the notebooks in their small form included
	@$(RUN) pytest --doctest-modules --numprocesses auto --dist loadfile \
	  $(LONGEST) ddlib $(filter-out $(LONGEST),$(wildcard tests/test_*.py)) $(PYTEST)

lint: $(STAMP)  ## Check style and format
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .

lab: $(STAMP)  ## Open the notebooks in JupyterLab
	@$(RUN) jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks

explore: $(STAMP)  ## Open the Grad-CAM explorer as a page in the browser
	@$(RUN) ddlib explore $(TIER) $(if $(ALPHA),--alpha $(ALPHA))

report: $(STAMP)  ## Write the report of a finished run as one HTML file
	@$(RUN) ddlib report $(TIER)

verify: $(STAMP)  ## Compute the committed results anew from the committed scores
	@$(RUN) ddlib report --verify

bench: $(STAMP)  ## Measure the speed against the study's way (a quiet machine, some minutes)
	@$(RUN) tests.benchmarks.bench $(if $(DATA),--data "$(DATA)") $(if $(ALPHA),--alpha $(ALPHA))
	@$(RUN) tests.benchmarks.bench_explorer

lines: $(STAMP)  ## Count the lines of ddlib that notebooks 00 to 07 run (two minutes)
	@$(RUN) tests.benchmarks.notebook_lines

scale: $(STAMP)  ## Measure how cost grows with the number of pictures (hours; goes on if stopped)
	@$(RUN) tests.benchmarks.scale $(if $(DATA),--data "$(DATA)") $(if $(ALPHA),--alpha $(ALPHA))

lock: pyproject.toml  ## Write requirements.lock anew from pyproject.toml (UPGRADE=1: newest versions)
	@[ -x $(BIN)/uv ] || $(MAKE) $(STAMP)
	@$(COMPILE) $(EXTRAS:%=--extra %) --output-file requirements.lock

# What one more extra needs, in the versions of requirements.lock where both name a package.
requirements-%.lock: pyproject.toml requirements.lock
	@$(COMPILE) --extra $* --constraints requirements.lock --output-file $@

clean:  ## Remove the environment and caches; results in runs/ and images in data/ stay
	@rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis dist build
	@find ddlib tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml requirements.lock
	@python=; for name in $(PYTHON); do \
	  if "$$name" -c '$(SUPPORTED)' 2>/dev/null; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "ddlib needs Python 3.11 to 3.13, and none of these is one: $(PYTHON)." >&2; \
	  echo "Install one (uv python install 3.13), or name it:" \
	    "make $(or $(MAKECMDGOALS),test) PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi; \
	echo "Making the environment in $(VENV) with $$("$$python" --version) (about a minute)"; \
	"$$python" -m venv --clear $(VENV)
	@awk '/^[^ ]/ {chosen = /^uv==/} chosen' requirements.lock > $(VENV)/uv.txt
	@$(RUN) pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt && \
	$(BIN)/uv pip install --python $(BIN)/python --require-hashes --compile-bytecode \
	  -r requirements.lock || { \
	  echo "uv could not install the packages; pip tries now, which takes longer." >&2; \
	  $(RUN) pip install --disable-pip-version-check --require-hashes -r requirements.lock; }
	@$(RUN) pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
