# `make quickstart` trains and scores a small codec, `make test` checks the code; both make their own environment.
# `make test-all` also runs the slow tests: several ranks, kills and faults. WORKERS is how many processes share the tests.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

.PHONY: quickstart compare results controls fine-tuning release test test-all lint format install install-dev system bench tensorboard clean

quickstart: install  ## Make the demo corpus, train a small FSQ codec, score it through a noisy channel.
	$(RUN) train.py fit --config configs/quickstart.yaml --ckpt_path auto
	$(RUN) train.py test --config configs/quickstart.yaml --ckpt_path last

compare: install  ## Train the matched FSQ and RVQ codecs of quickstart size, and score both through the same channels.
	test -f runs/quickstart/checkpoints/last.ckpt || $(RUN) train.py fit --config configs/quickstart.yaml
	$(RUN) train.py fit --config configs/quickstart.yaml --config configs/small/quickstart_rvq.yaml
	$(RUN) train.py test --config configs/evaluate/compare.yaml

# SPEECH is a manifest in the folder of its clips; SKIP patterns of clips that a second table leaves out, WHY the reason.
# ENGLISH is a manifest of those clips of it whose language the recogniser knows (all where left out); paths as in SPEECH.
CORPUS = --data.test data.ManifestSource --data.test.init_args.path "$(SPEECH)" --data.test.init_args.split null
OWN := --trainer.precision 32-true --trainer.accelerator cpu --trainer.logger.init_args.name
SCORE = $(RUN) train.py test --config
EVALUATED := codecs maps links receivers field fine_tuning
TUNED := $(foreach codec,fsq rvq student,runs/small_$(codec)_continued runs/small_$(codec)_flips)
results: install  ## Score the pretrained codecs on SPEECH=manifest.tsv, and write RESULTS.md anew (48 minutes for 44 clips).
	test -f "$(SPEECH)" || { echo "make results SPEECH=manifest.tsv: a list of clips, see docs/evaluation.md" >&2; exit 2; }
	$(RUN) -c 'import jiwer, pocketsphinx, resemblyzer, speechmos, distillmos, visqol' 2>/dev/null || \
	    $(RUN) -m pip install --quiet --editable '.[demo,asr,speaker,mos,visqol]'
	$(SCORE) configs/evaluate/pretrained.yaml $(CORPUS)
	$(SCORE) configs/evaluate/pretrained_maps.yaml $(CORPUS)
	$(SCORE) configs/evaluate/pretrained_links.yaml $(CORPUS)
	$(SCORE) configs/evaluate/pretrained_receivers.yaml $(CORPUS)
	$(SCORE) configs/evaluate/field.yaml $(CORPUS) $(if $(ENGLISH),--data.test.init_args.path "$(ENGLISH)" \
	    --data.test.init_args.root "$(dir $(SPEECH))")
	$(SCORE) configs/small/student.yaml --model.init_args.init_from small_student $(CORPUS) $(OWN) pretrained/student
	$(SCORE) configs/small/fsq.yaml --config configs/evaluate/sensitivity.yaml $(CORPUS) \
	    --model.init_args.init_from small_fsq $(OWN) pretrained/bits
	$(SCORE) configs/evaluate/levels.yaml $(CORPUS)
	for run in $(TUNED); do test -f $$run/checkpoints/last.ckpt || { \
	    echo "No $$run, which make fine-tuning trains: the logged scores of section 5 stay as they are."; exit 0; }; done; \
	    $(SCORE) configs/evaluate/fine_tuning.yaml $(CORPUS)
	$(RUN) -m callbacks.report.results runs/pretrained -o runs/pretrained/RESULTS.md
	set -e; keep() { test -f runs/pretrained/$$1/$${2%% *} || return 0; mkdir -p docs/results/$$1; \
	    for file in $$2; do cp runs/pretrained/$$1/$$file docs/results/$$1/; done; }; \
	    for run in $(EVALUATED); do keep $$run "channel.csv channel.json differences.csv"; done; \
	    keep student "agreement.csv agreement.json"; keep bits "sensitivity.csv error_spread.json"; \
	    keep levels "levels.csv levels.svg"
	$(RUN) -m callbacks.report.results docs/results -o RESULTS.md $(if $(SKIP),--leave-out $(SKIP)) $(if $(WHY),--why "$(WHY)")
	$(RUN) docs/config_table.py

.PHONY: seeds
seeds: install  ## Train FSQ and RVQ of quickstart size with three seeds each, and score them on the demo corpus.
	set -e; for seed in 0 1 2; do for codec in fsq rvq; do \
	    over=; test $$codec = fsq || over="--config configs/small/quickstart_rvq.yaml"; \
	    $(RUN) train.py fit --config configs/quickstart.yaml $$over --ckpt_path auto --seed_everything $$seed \
	        --trainer.logger.init_args.name quickstart_$${codec}_$$seed; done; done
	$(SCORE) configs/evaluate/seeds.yaml

controls: install  ## Is it the quantizer or the index assignment? FSQ and RVQ behind flips on SPEECH=manifest.tsv, with controls.
	test -f "$(SPEECH)" || { echo "make controls SPEECH=manifest.tsv: a list of clips, see docs/evaluation.md" >&2; exit 2; }
	$(SCORE) configs/evaluate/pretrained_maps.yaml $(CORPUS)
	$(RUN) -m callbacks.report.results.controls runs/pretrained/maps

# Each pretrained codec through flips (small/aware.yaml) and, the control, for as long without: six runs, an hour of a core.
TUNE = $(RUN) train.py fit --config configs/small/fsq.yaml --data.train.init_args.path "$(TRAIN)" \
    --data.val.init_args.path "$(DEV)" --data.test.init_args.path "$(DEV)" --channels.fit_clips 0
fine-tuning: install  ## Fine-tune the pretrained codecs with and without flips, on TRAIN=train.tsv and DEV=dev.tsv.
	test -f "$(TRAIN)" -a -f "$(DEV)" || { echo "make fine-tuning TRAIN=train.tsv DEV=dev.tsv: lists of clips" >&2; exit 2; }
	set -e; for kind in flips continued; do for codec in fsq rvq student; do \
	    test $$kind = flips || control="--config configs/small/continued.yaml"; \
	    test $$codec != rvq || over="--config configs/small/rvq.yaml --config configs/small/aware.yaml"; \
	    test $$codec != fsq || over="--config configs/small/aware.yaml"; \
	    test $$codec != student || over="--config configs/small/aware.yaml --config configs/small/student_aware.yaml"; \
	    $(TUNE) $$over $$control --model.init_args.init_from small_$$codec \
	        --trainer.logger.init_args.name small_$${codec}_$$kind; done; done

RUNS := $(patsubst runs/%/checkpoints/last.ckpt,%,$(wildcard runs/small_*/checkpoints/last.ckpt))
UNTRAINED := $(filter-out $(RUNS),$(notdir $(wildcard runs/small_*)))
release: install  ## Pack what the trained runs keep beside the weights (discriminators, optimizers) into release/.
	test -n "$(RUNS)" || { echo "make release: no runs/small_*/checkpoints/last.ckpt to pack: train first" >&2; exit 2; }
	set -e; mkdir -p release; for run in $(RUNS); do \
	    cp runs/$$run/checkpoints/last.ckpt release/$$run.ckpt; cp runs/$$run/config.yaml release/$$run.yaml; done
	cd release && sha256sum *.ckpt > SHA256SUMS
	@echo "release/ holds: $(RUNS)$(if $(UNTRAINED),; left out, having no checkpoint: $(UNTRAINED))"

WORKERS ?= 2
PYTEST = $(RUN) -m pytest -n $(WORKERS) --dist worksteal
test: install-dev lint  ## Style, types and the quick tests.
	$(PYTEST) -m "not slow"

test-all: install-dev lint  ## Style, types and all tests.
	$(PYTEST)

.PHONY: versions
versions: system  ## Imports, a small run and the tests on PYTHON, one or several, without extras and with each; 20 minutes.
	$(firstword $(PYTHON)) tests/support/versions.py $(PYTHON) $(if $(EXTRAS),--extras $(EXTRAS))

lint: install-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: install-dev
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

tensorboard: install  ## Curves, figures and audio of all runs.
	$(VENV)/bin/tensorboard --logdir runs

bench: install-dev  ## Ratios of speed, minutes.
	for f in tests/benchmarks/[a-z]*.py; do $(RUN) -m tests.benchmarks.$$(basename $$f .py); done

.PHONY: gpu
gpu: install-dev  ## Acceptance run on a GPU, 6 minutes, table in docs/results/gpu; without one its small form on the CPU.
	$(RUN) -m tests.gpu.accept $(PARTS)

.PHONY: docs
docs: install  ## The manual as a site, in site/; links that lead nowhere are errors.
	$(RUN) -c 'import mkdocs, mkdocstrings, material' 2>/dev/null || $(RUN) -m pip install --quiet --editable '.[docs]'
	$(RUN) docs/config_table.py --check
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

install: $(STAMP)

$(STAMP): pyproject.toml | system
	@echo "Installing into $(VENV): 5 GB with PyTorch, some minutes"
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable '.[demo]'
	touch $@

install-dev: $(DEV_STAMP)

$(DEV_STAMP): $(STAMP)
	@echo "Installing what the tests need: 1 GB"
	$(RUN) -m pip install --quiet --editable '.[demo,dev,hf,sweep]'
	touch $@

# pesq is compiled at installation: it needs a C compiler and Python's headers.
system:
	@command -v cc >/dev/null && $(firstword $(PYTHON)) -c 'import os, sysconfig, venv, ensurepip; \
	    assert os.path.exists(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null || { \
	    echo "Installing system packages: build-essential python3-dev python3-venv"; \
	    SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	    $$SUDO apt-get update -qq && $$SUDO apt-get install -y -qq build-essential python3-dev python3-venv || { \
	    echo "Install a C compiler, Python's headers and venv by hand, then run make again." >&2; exit 1; }; }

clean:
	rm -rf $(VENV) runs predictions site
