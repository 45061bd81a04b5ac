PYTHON ?= python3
SHARED ?= ../shared/data
VENV := .venv
DEMO := .venv-demo
FREE ?= .cache/free

.PHONY: demo test check slow lint types docs scenes clean

demo: $(DEMO)/.done  ## erase a named thing from a bundled photo (no torch; its own environment)
	mkdir -p demo-out
	$(DEMO)/bin/unsay erase examples/sea.jpg orca -o demo-out/sea.unsaid.jpg
	@echo "before: examples/sea.jpg"
	@echo "after:  demo-out/sea.unsaid.jpg"

test: $(VENV)/.done  ## the default test suite, in its own environment
	OMP_NUM_THREADS=2 $(VENV)/bin/python -m pytest

check: slow lint types  ## the slow tests, lint and types

slow: $(VENV)/.done
	OMP_NUM_THREADS=2 $(VENV)/bin/python -m pytest -m slow

lint: $(VENV)/.done
	$(VENV)/bin/ruff check src tests benchmarks fuzz
	$(VENV)/bin/ruff format --check src tests benchmarks fuzz

types: $(VENV)/.done
	$(VENV)/bin/mypy

docs: $(VENV)/.done  ## the documentation site, in site/; a warning is an error, and so is anything loaded from outside
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

scenes: $(VENV)/.done $(FREE)/.done  ## composed test scenes for `unsay evaluate erase`
	$(VENV)/bin/unsay prepare scenes --cutouts $(FREE)/tuxpaint-stamps-default --backgrounds $(FREE)/mate-backgrounds \
	  --backgrounds $(FREE)/plasma-workspace-wallpapers --split test --count 40 -o runs/scenes-test

$(FREE)/.done: scripts/fetch-free-photos
	scripts/fetch-free-photos $(FREE) && touch $@

$(DEMO)/.done: pyproject.toml scripts/install requirements/build.lock requirements/run.lock $(shell find src -name '*.py' -o -name 'bundle.json')
	test -x $(DEMO)/bin/python || $(PYTHON) -m venv $(DEMO)
	scripts/install $(abspath $(DEMO))/bin/python run
	touch $@

$(VENV)/.done: pyproject.toml constraints.txt scripts/install $(wildcard requirements/*.lock)
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	scripts/install $(abspath $(VENV))/bin/python dev
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) demo-out build dist site
