# Each command makes the environment it needs, in .venv. `make` alone lists them.
SHELL := bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help book pdf test style unit notebooks site fuzz mutants lab bench refresh clean

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
MUTANTS := .venv/mutants
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadscope
SITE := $(addprefix tests/book/,test_html.py test_browser.py test_dials.py)

export PLE_STUDY_DEVICE ?= auto
ifneq ($(wildcard ../shared/data/.),)
export PLE_STUDY_DATA ?= $(abspath ../shared/data)
endif
export TIMEFORMAT = == $@: %1lR

help: ## list the commands
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

book: $(INSTALLED) ## build the book: open book/_build/html/index.html
	rm -rf book/_build
	time $(BIN)/jupyter-book build . --path-output book -q -W --keep-going -n

pdf: $(INSTALLED) ## print the built book: book/_build/ple_study.pdf
	test -d book/_build/html || $(MAKE) book
	time $(BIN)/python -m book._tools.pdf

test: style unit notebooks book site ## check everything, part by part

style: $(INSTALLED) ## check layout, lint and types
	time { $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy; }

unit: export OMP_NUM_THREADS = 1
unit: $(INSTALLED) ## test the library and the rules of the notebooks
	time $(PYTEST) $(addprefix --ignore=,$(SITE))

notebooks: $(INSTALLED) ## run every notebook again and compare what it shows
	time $(PYTEST) -p tests.book.gate --nbval --nbval-current-env \
	  --nbval-cell-timeout 300 book

site: $(INSTALLED) ## test the built book, also in a browser
	time $(PYTEST) --dist load $(SITE)

fuzz: export OMP_NUM_THREADS = 1
fuzz: $(INSTALLED) ## try 10,000 broken inputs and more, other ones each time
	time $(PYTEST) --hypothesis-profile=fuzz tests/fuzz

mutants: $(MUTANTS)/cosmic_ray ## change the code at 420 places: does a test fail each time?
	time PYTHONPATH=$(MUTANTS) $(BIN)/python -m tests.mutants

lab: $(INSTALLED) ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab book

bench: $(INSTALLED) ## measure this library against its peers
	$(BIN)/python -m benchmarks

refresh: $(INSTALLED) ## store new outputs, of all notebooks or of NB=book/x.ipynb
	$(BIN)/python -m book._tools.refresh $(NB)

clean: ## remove what the other commands made, but for the environment
	rm -rf book/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Of cosmic-ray only what changes code is used, which needs nothing that is not here.
$(MUTANTS)/cosmic_ray: | $(INSTALLED)
	$(BIN)/pip install --no-deps --target $(MUTANTS) cosmic-ray==8.7.0

$(INSTALLED): requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --requirement requirements.txt
	$(BIN)/pip install --no-deps --editable .
	touch $@
