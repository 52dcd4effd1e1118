# `make demo` and `make test` set up everything in .venv; nothing outside this folder is touched.
# On a machine without an NVIDIA card: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo (saves gigabytes).
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-avx2 test-all check lint clean

demo: $(READY)
	$(BIN)/rnpc demo

# Two processes of one thread each: two threads in one process share less of the work. A file's tests share what they set up.
TEST := $(BIN)/python -m pytest -n 2 --dist loadfile

test: export OMP_NUM_THREADS := 1
test: $(READY)
	$(TEST) -m "not slow"

# oneDNN picks its kernels by the processor; those for AVX2 have faults of their own (heap corruption, see rnpc/speed.py). The limit counts
# from a process's start, so these rooms, which train, run once more in one of their own.
test-avx2: export OMP_NUM_THREADS := 1
test-avx2: $(READY)
	ONEDNN_MAX_CPU_ISA=AVX2 $(TEST) -m "not slow" -k "not dynamo" \
		tests/victims/test_train.py tests/attacks tests/study tests/detectors tests/twin/test_module.py tests/twin/test_exported.py

test-all: $(READY)
	$(BIN)/python -m pytest

# mypy wants the package in one place: rnpc/ and the three folders that setup.cfg maps into it are linked together.
lint: $(READY)
	$(BIN)/ruff check .
	rm -rf .venv/tree && mkdir -p .venv/tree/rnpc
	ln -s $(CURDIR)/rnpc/* $(CURDIR)/passes $(CURDIR)/frontends $(CURDIR)/models .venv/tree/rnpc/
	cd .venv/tree && ../bin/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache

check: lint test test-avx2

$(READY): constraints.txt setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "rnpc needs Python 3.11 or later: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
