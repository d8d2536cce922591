# Two commands do all the set-up on a machine with Python 3.11 or newer: make demo, make test.
# Both install the versions of constraints.txt, with which the tests pass; make lock renews them.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   := build/demo
LIBRARY ?=
# A process for each core, and the tests of a file in one of them.
WORKERS := -n logical --maxprocesses 8 --dist loadfile
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
UV      := $(VENV)-lock/bin/uv

# The library that is searched, and its index.
ifeq ($(LIBRARY),)
  SEARCHED := $(DEMO)/library
  INDEX    := $(DEMO)/index
else
  SEARCHED := $(LIBRARY)
  INDEX    := $(DEMO)/own-index
endif
SOUNDSEARCH := $(BIN)/soundsearch
QUERY := $(SOUNDSEARCH) query --index "$(INDEX)" --in "$(SEARCHED)" -k 3
SIMILAR := $(SOUNDSEARCH) similar --index "$(INDEX)" --in "$(SEARCHED)" -k 3

.PHONY: demo test test-search lint docs cli-docs lock starter clean

demo: $(VENV)/.base ## index a small library of real recordings (or LIBRARY=DIR) and search it
ifeq ($(LIBRARY),)
	@$(SOUNDSEARCH) demo "$(SEARCHED)"
endif
	@$(SOUNDSEARCH) index "$(SEARCHED)" --index "$(INDEX)"
	@for text in "dog barking in rain" "thunder" "people talking"; do \
	  echo; echo "\$$ soundsearch query \"$$text\""; $(QUERY) "$$text" || exit 1; \
	done
ifeq ($(LIBRARY),)
	@echo; echo "\$$ soundsearch similar Animals/crow_4.opus"
	@$(SIMILAR) "$(SEARCHED)/Animals/crow_4.opus"
else
	@echo; echo "\$$ soundsearch similar (the first hit for \"thunder\")"
	@$(QUERY) -k 1 --null "thunder" | xargs -0 -I FILE $(SIMILAR) FILE
endif

test: $(VENV)/.all ## run all tests
	$(BIN)/python -m pytest $(WORKERS) $(PYTEST_FLAGS)

test-search: $(VENV)/.search ## run the tests of search, indexing and benchmarks, which need no torch
	$(BIN)/python -m pytest $(WORKERS) $(PYTEST_FLAGS) --ignore tests/trainer --ignore tests/recipes

lint: $(VENV)/.all ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.docs ## build the pages of docs/ as a site in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

cli-docs: $(VENV)/.search ## write docs/cli.md anew
	$(BIN)/python -m tests.cli_docs docs/cli.md

starter: $(VENV)/.all ## train the encoder that ships anew from DATA=DIR, into build/starter (hours)
	@test -n "$(DATA)" || { echo "DATA is empty; say: make starter DATA=DIR" >&2; exit 2; }
	$(BIN)/python -m recipes.starter "$(DATA)" --run runs/starter --out build/starter

lock: $(UV) ## write constraints.txt anew, with the newest versions that pyproject.toml allows
	$(UV) pip compile --universal --fork-strategy fewest --python-version 3.11 --all-extras \
	  --upgrade --quiet --custom-compile-command "make lock" pyproject.toml --output-file constraints.txt

clean: ## remove what these commands made
	rm -rf $(VENV) $(VENV)-lock build

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# Each set holds the one before it.
$(VENV)/.base: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing soundsearch into $(VENV): 520 MB, about a minute with a fast connection."
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.search: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing what the tests of search need into $(VENV): 1 GB or more, about a minute with a fast connection."
	$(INSTALL) --editable ".[dask,test,test-scale]"
	@touch $@ $(VENV)/.base

$(VENV)/.all: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing what all tests need into $(VENV): 6.5 GB with torch, three minutes and more."
	$(INSTALL) --editable ".[dask,postgres,train,test,test-scale,test-train,dev]"
	@touch $@ $(VENV)/.base $(VENV)/.search

# Beside the others: only the pages need it.
$(VENV)/.docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing what builds the pages into $(VENV): 630 MB, about a minute with a fast connection."
	$(INSTALL) --editable ".[docs]"
	@touch $@ $(VENV)/.base

$(UV):
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check uv
