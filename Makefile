# Two commands do everything: `make figures` and `make test`. Each makes .venv first when it is missing.
PYTHON ?= python3
PRESET ?= digits
JOBS   ?= 0
DEVICE ?= auto
PRECISION ?=
FIGURES ?=
FRESH ?=
COMPUTE ?=

BIN   := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup figures words export site slides teach test lab bench doctor clean

help:  ## this list
	@echo "retrainlab: after pruning a neural network, how should it be retrained?"
	@echo
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-9s %s\n", $$1, $$2}'
	@echo
	@echo "  PRESET=$(PRESET) (smoke, digits, fashion-mnist, cifar10)  JOBS=$(JOBS) (0: one per core)  DEVICE=$(DEVICE) (auto, cpu, cuda, cuda:N)"
	@echo "  figures, slides: PRECISION=$(PRECISION) (float32, bfloat16; the preset's if left out)"
	@echo "  figures: FIGURES=\"fig03 fig05\" (all if left out)  FRESH=1 (compute all anew)  COMPUTE=1 (train for cifar10, too)"

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed, but $(PYTHON) is $$($(PYTHON) --version 2>&1); name another: make PYTHON=python3.12 ..."; exit 2; }
	@echo "Making .venv with all that is needed (torch is large: some minutes, about 6 GB) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cluster,lab,onnx,test,timm]'
	@touch $@

setup: $(READY)  ## make .venv and install everything
	@echo "Ready: $(BIN)/retrainlab"

figures: $(READY)  ## make every figure of PRESET that something changed for, in figures/PRESET/
	@$(BIN)/retrainlab figures $(FIGURES) $(if $(filter-out 0,$(FRESH)),--fresh) $(if $(filter-out 0,$(COMPUTE)),--compute) --preset $(PRESET) --jobs $(JOBS) --device $(DEVICE) $(addprefix --precision ,$(PRECISION))

words: $(READY)  ## write what the figures and results kept in git say into the README and docs, and the glossary
	@$(BIN)/retrainlab words

export: $(READY)  ## write the explorers as HTML files into pages/
	@$(BIN)/retrainlab export --jobs $(JOBS) --device $(DEVICE)

site: $(READY)  ## write a site of all explorers and figures, for those who have only a browser, into site/
	@$(BIN)/retrainlab site

slides: $(READY)  ## write slides of PRESET's figures, HTML and PDF, into slides/
	@$(BIN)/retrainlab slides --preset $(PRESET) $(addprefix --precision ,$(PRECISION))

teach: $(READY)  ## write the sessions of teach/ for participants, without solutions, and the sheet of formulas
	@$(BIN)/retrainlab teach

test: $(READY)  ## run all tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadgroup

lab: $(READY)  ## open JupyterLab on notebooks/start_here.ipynb
	@$(BIN)/retrainlab lab

bench: $(READY)  ## measure the engine on this machine beside the usual loop (about 25 minutes on a CPU)
	@$(BIN)/python benchmarks/bench.py --device $(DEVICE)
	@$(BIN)/python benchmarks/table.py

doctor: $(READY)  ## say what is here, and how to get what is missing
	@$(BIN)/retrainlab doctor

clean:  ## remove .venv and caches; store/ and the figures, but for smoke, stay
	@rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis figures/smoke
	@find . \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
