# Two commands do everything: `make all` and `make test`. `make` alone lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := help

PROFILE := embedded
INPAINTLIB_DATA ?=
DATA := $(INPAINTLIB_DATA)
MINUTES := 60
RESIZE :=
THRESHOLD :=
ALIGN :=
ARGS :=
PORT :=
VENV := .venv
export INPAINTLIB_ROOT := $(CURDIR)

# Notebooks run side by side, each on one thread: results do not depend on how many do (THREADS changes their last bits).
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
JOBS := $(shell echo $$(( $(CORES) < 4 ? $(CORES) : 4 )))
THREADS := 1
export INPAINTLIB_THREADS := $(THREADS)
ifeq ($(filter -j% --jobserver%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(JOBS)
endif

# The interpreter: PYTHON=..., or that of an active conda environment (not the base one), is used as it
# is; otherwise VENV is made, and its stamp is what everything else depends on.
CONDA_PREFIX ?=
CONDA_DEFAULT_ENV ?= base
PYTHON ?= $(if $(filter-out base,$(CONDA_DEFAULT_ENV)),$(CONDA_PREFIX:%=%/bin/python))
ifeq ($(PYTHON),)
RUN := $(VENV)/bin/python
ENV := $(VENV)/stamp
else
RUN := $(PYTHON)
ENV :=
endif

# Said before work begins, instead of a bare ModuleNotFoundError: find_spec looks and imports nothing.
UNREADY = { echo "error: $(RUN) lacks the project's packages; unset PYTHON and conda, or see environment.yml" >&2; exit 1; }
PACKAGES := "inpaintlib", "papermill", "torch"
READY = @$(RUN) -c 'from importlib.util import find_spec as f; raise SystemExit(not all(map(f, ($(PACKAGES)))))' 2>/dev/null || $(UNREADY)
NEED_DATA = @[[ -n "$(DATA)" ]] || { echo "error: make $@ needs DATA=folder (or INPAINTLIB_DATA) with its images" >&2; exit 1; }

PROFILES := $(notdir $(patsubst %/,%,$(wildcard params/*/)))
SITE := reports/$(PROFILE)
STEMS := $(filter-out inpaint,$(basename $(notdir $(sort $(wildcard params/$(PROFILE)/*.yaml)))))
REPORTS := $(STEMS:%=report-%)
# What pages depend on, and what results do; training makes new weights, and those are in models/.
REFERENCE := $(wildcard reports/reference/*.csv)
PAGES := $(wildcard $(addprefix inpaintlib/,report.py reference.py formulas.py templates/* templates/*/*))
ASIDE := $(PAGES) $(addprefix inpaintlib/,__main__.py benchmark.py inpaint.py summary.py)
LIB := $(filter-out $(ASIDE),$(wildcard inpaintlib/*.py inpaintlib/models/*.safetensors inpaintlib/models/checksums.json))

.PHONY: all check clean clean-cache env explore fetch help inpaint lab lint lock reference test $(REPORTS)
.PHONY: train-attributes train-clip train-faces64 train-percept

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo "  report-NAME      run and render one notebook: $(STEMS)"

all: $(SITE)/index.html  ## run and render every notebook of PROFILE (embedded), list them in index.html

env: $(ENV)  ## make the environment (.venv), or check that of PYTHON=...
	$(READY)
	@$(RUN) -c 'import inpaintlib.report' || $(UNREADY)

fetch: $(ENV)  ## get published weights: NAME=ffhq-256 (without NAME, list them)
	$(READY)
	@$(RUN) -m inpaintlib fetch $(if $(filter command,$(origin NAME)),$(NAME))

test: $(ENV)  ## run the tests [ARGS=-m slow]
	$(READY)
	$(RUN) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

check: $(ENV)  ## prove that the reports of PROFILE are there and whole
	$(READY)
	$(RUN) -m inpaintlib check $(PROFILE)

lint: $(ENV)  ## check style of code and notebooks
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

$(REPORTS): report-%: $(SITE)/%.html
	@$(RUN) -m inpaintlib index $(PROFILE)

reference: $(ENV)  ## keep the numbers of PROFILE=full in reports/reference/, to be committed
	$(READY)
	@$(RUN) -m inpaintlib reference $(if $(filter command,$(origin PROFILE)),$(PROFILE))

inpaint: $(ENV)  ## fill the hole in your own image: IMAGE= MASK= [OUT=] [PROMPT=] [ATTRIBUTES=] [ALIGN=1] [EYES=] [FACE=] [BLEND=] [RESIZE=1] [THRESHOLD=1] [PARAMS=file] [THREADS=n]
	@[[ -n "$${IMAGE:-}" && -n "$${MASK:-}" ]] || { echo "error: make inpaint needs IMAGE=... MASK=..." >&2; exit 1; }
	$(READY)
	@INPAINTLIB_THREADS=$(if $(filter command,$(origin THREADS)),$(THREADS),$(CORES)) $(RUN) -m inpaintlib inpaint "$$IMAGE" "$$MASK" \
	    --params "$${PARAMS:-params/$(PROFILE)/inpaint.yaml}" $${OUT:+--out "$$OUT"} \
	    $${PROMPT+--prompt="$$PROMPT"} $${ATTRIBUTES+--attributes="$$ATTRIBUTES"} \
	    $${EYES+--eyes="$$EYES"} $${FACE+--face="$$FACE"} $${BLEND+--blend="$$BLEND"} $(if $(filter-out 0,$(ALIGN)),--align) \
	    $(if $(filter-out 0,$(RESIZE)),--resize-mask) $(if $(filter-out 0,$(THRESHOLD)),--threshold)

# By hand and one at a time, so on all cores, as inpaint is.
explore lab: PACKAGES := $(PACKAGES), "anywidget", "voila"
explore lab: export INPAINTLIB_THREADS = $(if $(filter command,$(origin THREADS)),$(THREADS),$(CORES))

explore: $(ENV)  ## serve the explorer as a page on this machine, and print its address [PORT=n] [THREADS=n]
	$(READY)
	@$(RUN) -m inpaintlib.explorer.server $(PORT:%=--port %)

lab: $(ENV)  ## open the explorer's notebook in JupyterLab [THREADS=n]
	$(READY)
	@$(RUN) -m jupyterlab notebooks/explorer.ipynb

train-attributes: $(ENV)  ## train both attribute classifiers: DATA=folder [ARGS=...]; writes runs/steer
	$(NEED_DATA)
	$(READY)
	$(RUN) -m inpaintlib.train.attributes attributes-guide --data "$(DATA)" --out runs/steer $(ARGS)
	$(RUN) -m inpaintlib.train.attributes attributes-judge --data "$(DATA)" --out runs/steer $(ARGS)

train-clip: $(ENV)  ## train both small CLIP models: DATA=folder [ARGS=...]; writes runs/steer
	$(NEED_DATA)
	$(READY)
	$(RUN) -m inpaintlib.train.clip clip-guide --data "$(DATA)" --out runs/steer $(ARGS)
	$(RUN) -m inpaintlib.train.clip clip-judge --data "$(DATA)" --out runs/steer $(ARGS)

train-faces64: $(ENV)  ## train the face generator: DATA=folder [MINUTES=60] [ARGS=...]; resumes runs/faces64
	$(NEED_DATA)
	$(READY)
	$(RUN) -m inpaintlib.train.faces64 --data "$(DATA)" --out runs/faces64 --minutes "$(MINUTES)" \
	    --kid --export faces64 $(ARGS)

train-percept: $(ENV)  ## train both perceptual networks: DATA=folder
	$(NEED_DATA)
	$(READY)
	$(RUN) -m inpaintlib.train.percept percept-guide --data "$(DATA)" --out runs/percept
	$(RUN) -m inpaintlib.train.percept percept-judge --data "$(DATA)" --out runs/percept

lock:  ## pin the versions of pyproject.toml's dependencies in requirements.lock (needs uv)
	@command -v uv >/dev/null || { echo "error: make lock needs uv on the PATH" >&2; exit 1; }
	uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
	    --extra dev pyproject.toml -o requirements.lock

clean:  ## remove the reports of every profile in params/; what `make inpaint` made stays
	rm -rf $(PROFILES:%=reports/%)

clean-cache:  ## forget the finished searches in cache/ (or INPAINTLIB_CACHE)
	rm -rf "$${INPAINTLIB_CACHE:-cache}"/[0-9a-f][0-9a-f]

$(SITE)/index.html: $(STEMS:%=$(SITE)/%.html)
	@[[ -n "$(STEMS)" ]] || { echo "error: profile $(PROFILE) has no files in params/$(PROFILE)/" >&2; exit 1; }
	@$(RUN) -m inpaintlib index $(PROFILE)

# The summary reads what all others left, and links to their pages.
OTHERS := $(filter-out summary,$(STEMS))
$(SITE)/summary.ipynb: $(OTHERS:%=$(SITE)/%.ipynb) $(REFERENCE) $(wildcard reports/full/claims/*.json inpaintlib/summary.py)
$(SITE)/summary.html: $(OTHERS:%=$(SITE)/%.html)

$(SITE)/%.html: $(SITE)/%.ipynb $(PAGES) $(REFERENCE)
	$(READY)
	@$(RUN) -m inpaintlib render $<

$(SITE)/%.ipynb: notebooks/%.ipynb params/$(PROFILE)/%.yaml $(LIB) $(ENV)
	$(READY)
	@$(RUN) -m inpaintlib run $< --params params/$(PROFILE)/$*.yaml --out $@

$(VENV)/stamp: requirements.lock pyproject.toml
	@python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	    { echo "error: python3 on the PATH must be Python 3.11 to 3.13; or give PYTHON=..." >&2; exit 1; }
	python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --progress-bar off -r requirements.lock
	$(VENV)/bin/python -m pip install --disable-pip-version-check --no-deps -e .
	@touch $@
