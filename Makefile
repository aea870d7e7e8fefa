# Everything starts here. `make demo` and `make test` set up what they need, once.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# one thread each: two processes with two threads of torch's wait for each other, up to 15 times as long
FAST   := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not ray and not ranks and not slow"

.PHONY: demo sweep test fast check bench clean help

help:
	@echo "make demo   the whole story on this machine: data, pretraining, fine-tuning, report (3 to 7 minutes)"
	@echo "make sweep  8 trials of a sweep, each a nested run of two workers, on the synthetic images (10 to 25 minutes)"
	@echo "make test   lint, types and every test (about 25 minutes on 2 cores)"
	@echo "make fast   the tests that start no Ray and no other ranks (3 minutes)"
	@echo "make check  lint and types only"
	@echo "make bench  measure, and rewrite benchmarks/RESULTS.md (the first time it installs the peers, each apart)"

# The stamp is newer than the two files that say what to install: a second call sets nothing up again.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
	  sys.exit(0 if v >= (3, 11) else f"raytrain needs Python >= 3.11, $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	@echo "== setting up $(VENV): once, some minutes (PyTorch, Ray, DeepSpeed) =="
	@began=$$(date +%s); set -e; \
	  $(PYTHON) -m venv $(VENV); \
	  $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt setuptools wheel ninja; \
	  echo "   1/3 PyTorch"; \
	  $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch torchvision numpy; \
	  echo "   2/3 DeepSpeed"; \
	  $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation deepspeed; \
	  echo "   3/3 Ray and the rest"; \
	  $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'; \
	  echo "== set up in $$(( $$(date +%s) - began )) s =="
	@touch $@

demo: $(READY)
	@$(BIN)/raytrain demo

sweep: $(READY)
	@$(BIN)/raytrain data synth demo-out/sweep/images --space 22k --images 10
	@$(BIN)/raytrain data pack demo-out/sweep/images --out demo-out/sweep/shards
	@$(BIN)/raytrain tune smoke_swin_22k --data demo-out/sweep/shards --out demo-out/sweep/out --trials 8 --workers 2 \
	  --space swin_smoke --set epochs=2 --set 'model.depths=[2]'

test: $(READY) check
	@echo "== every test: about 25 minutes on 2 cores =="
	$(FAST)
	$(BIN)/python -m pytest -m "ray or ranks or slow"

fast: $(READY)
	$(FAST)

check: $(READY)
	@echo "== lint and types =="
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) .venv-peers build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-out
