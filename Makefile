# Two commands do all the set-up on a machine with Python 3.11 or newer: make demo, make test.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   := build/demo
LIBRARY ?=
DATA   ?= ../shared/data
PIP_FLAGS := --quiet --disable-pip-version-check

# The library that is asked, and the index it is put into.
ifeq ($(LIBRARY),)
  ASKED := $(DEMO)/library
  INDEX := $(DEMO)/index
else
  ASKED := $(LIBRARY)
  INDEX := $(DEMO)/own-index
endif
SOUNDSEARCH := $(BIN)/soundsearch
QUERY := $(SOUNDSEARCH) query --index "$(INDEX)" --root "$(ASKED)" -k 3

.PHONY: demo test lint docs starter clean

demo: $(VENV)/.base ## index a library of synthesised sounds (or LIBRARY=DIR) and ask it
ifeq ($(LIBRARY),)
	@$(SOUNDSEARCH) demo "$(ASKED)"
endif
	@$(SOUNDSEARCH) index "$(ASKED)" --index "$(INDEX)"
	@for text in "dog barking" "thunder and rain" "waves on the beach"; do \
	  echo; echo "\$$ soundsearch query \"$$text\""; $(QUERY) "$$text" || exit 1; \
	done
	@echo; echo "\$$ soundsearch similar (the first hit for \"police siren\")"
	@$(QUERY) -k 1 --null "police siren" | xargs -0 -I FILE \
	  $(SOUNDSEARCH) similar --index "$(INDEX)" --root "$(ASKED)" -k 3 FILE

test: $(VENV)/.all ## run the tests
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: $(VENV)/.all ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.all ## write docs/cli.md anew
	$(BIN)/python -m tests.cli_docs docs/cli.md

starter: $(VENV)/.all ## train the encoder that ships anew, into build/starter (hours)
	$(SOUNDSEARCH) train starter "$(DATA)" --run runs/starter --out build/starter

clean: ## remove what these commands made
	rm -rf $(VENV) build

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install $(PIP_FLAGS) --editable .
	@touch $@

$(VENV)/.all: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install $(PIP_FLAGS) --editable ".[train,test,dev]"
	@touch $@ $(VENV)/.base
