# The two commands: `make serve` runs the proxy, `make test` runs every check.
# `make help` lists the steps they are made of.
#
# PYTHON=python3.12   what .venv is made from (default: python3)
# PORT=1080 ARGS=     what `make serve` hands to twistd
# TESTS=tests.wire    what `make trial` and `make pytest` run
# BENCH_ARGS=--quick  what `make bench` and its kin hand to benchmarks/compare

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
PORT ?= 1080
ARGS ?=
BENCH_ARGS ?=
TESTS ?= tests
OLDEST_PYTHON ?= python3.10

RUN := $(VENV)/bin
# Each stamp says that pip has done its part since pyproject.toml last changed.  One for each
# PYTHON that was asked for: asking for another makes .venv anew.
ASKED := $(filter command environment,$(firstword $(origin PYTHON)))
INSTALLED := $(VENV)/.installed$(if $(ASKED),-$(subst /,-,$(PYTHON)))
TOOLS := $(VENV)/.tools
PIP := $(RUN)/python -m pip -qq --disable-pip-version-check
# A test that hangs shall not hang the whole run.
MINUTES := timeout --foreground --kill-after=30

# All but those that drive programs from outside, which does the same under either runner: `make
# test` has pytest run these.
IN_PROCESS := $(subst /,.,$(filter-out tests/interop tests/measured tests/docs, \
	$(patsubst %/__init__.py,%,$(wildcard tests/*/__init__.py)) \
	$(patsubst %.py,%,$(wildcard tests/test_*.py))))

.PHONY: help venv serve test debian lint types imports pytest trial wheel docs \
	test-oldest bench bench-workers bench-paths profile clean distclean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

# ---------------------------------------------------------------- to use it

$(INSTALLED): pyproject.toml .ci/venv
	@.ci/venv "$(PYTHON)" "$(VENV)" $(if $(ASKED),asked)
	@echo "installing twisted-socks5 into $(VENV)"
	@$(PIP) install --editable .
	@touch $@

venv: $(INSTALLED) ## make .venv and install the project there

serve: venv ## run the proxy on 127.0.0.1, port PORT
	@exec $(RUN)/twistd --nodaemon --pidfile= socks5 --port $(PORT) $(ARGS)

# --------------------------------------------------------------- to check it

# One after the other, also under `make -j`: they share the two cores and the ports.  But for two
# that take a core each, and no port.
test: ## run every check, from lint to the installed wheel
	@$(MAKE) --no-print-directory debian
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory imports
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target types docs
	@$(MAKE) --no-print-directory wheel
	@$(MAKE) --no-print-directory trial TESTS="$(IN_PROCESS)"
	@$(MAKE) --no-print-directory pytest

$(TOOLS): $(INSTALLED)
	@.ci/debian < tests/debian-packages.txt  # krb5's headers, to begin with
	@echo "installing what the checks need into $(VENV)"
	@$(PIP) install --editable '.[test,lint,docs]'
	@touch $@

debian: ## install the programs that the tests drive (apt-get, those missing)
	@.ci/debian < tests/debian-packages.txt

lint: $(TOOLS) ## ruff: style and formatting
	$(RUN)/ruff check
	$(RUN)/ruff format --check

types: $(TOOLS) ## mypy, strict
	$(RUN)/mypy

imports: $(TOOLS) ## import-linter: which room may import which
	$(RUN)/lint-imports --no-logo --no-cache  # its cache misses that a module is new

pytest: $(TOOLS) ## the tests under pytest, with branch coverage
	@$(RUN)/coverage erase
	PYTHONPATH=$(CURDIR)/tests/measured $(MINUTES) 15m $(RUN)/coverage run -m pytest \
		--numprocesses 2 --dist worksteal --pyargs $(TESTS)
	@$(RUN)/coverage combine --quiet
	@$(RUN)/coverage report
	@$(RUN)/coverage report --include='twisted_socks5/wire/*' --fail-under=100

# Not -bb: Twisted's own Unix sockets compare octets with text.
trial: $(TOOLS) ## the same tests under trial
	$(MINUTES) 15m $(RUN)/python -Wall -b -m twisted.trial --jobs 2 $(TESTS)

wheel: $(TOOLS) ## build sdist and wheel, try the wheel in an empty environment
	.ci/wheel "$(RUN)/python" build

docs: $(TOOLS) ## build the documentation; a warning is an error
	$(RUN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@.ci/api "$(RUN)/pydoctor" docs/_build/html/api

test-oldest: ## the tests with the oldest Twisted that is supported
	.ci/oldest "$(OLDEST_PYTHON)" "$(PYTHON)" build/oldest

# ------------------------------------------------------------- to measure it

COMPARE := $(RUN)/python benchmarks/compare --installed --steady
PAGE := docs/performance.md

bench: $(TOOLS) ## measure beside the proxies that are installed; writes docs/benchmarks.md
	$(COMPARE) --peers benchmarks/peers.toml --baseline plain-twisted --idle 5000 \
		--rounds 3 --duration 2 --markdown docs/benchmarks.md --json build/benchmarks.json \
		--overview $(PAGE):peers $(BENCH_ARGS)

# Not pinned to half of the processors: it is about all of them.
bench-workers: $(TOOLS) ## the same of two processes, beside peers that spread themselves
	$(COMPARE) --no-pin --peers benchmarks/peers.toml --peers benchmarks/workers.toml \
		--only 'twisted-socks5,twisted-socks5 (2 workers),microsocks,dante' --baseline dante \
		--workloads connect,rr-64 --rounds 3 --duration 2 --section $(PAGE):workers $(BENCH_ARGS)

bench-paths: $(TOOLS) ## the same of other reactors, the portable path and TLS
	$(COMPARE) --peers benchmarks/paths.toml --baseline plain-twisted \
		--workloads connect,bulk-down,rr-64,udp --rounds 3 --duration 1.5 --section $(PAGE):paths $(BENCH_ARGS)
	$(COMPARE) --peers benchmarks/tls.toml --baseline plain-twisted \
		--workloads connect,bulk-down,rr-64 --rounds 3 --duration 1.5 --section $(PAGE):tls $(BENCH_ARGS)

profile: $(TOOLS) ## count what a connection, a datagram and the like cost, and where
	$(RUN)/python benchmarks/costs.py --section $(PAGE):profile --graphs docs/performance

clean: ## remove what the checks left behind
	rm -rf build dist docs/_build htmlcov .coverage .coverage.* _trial_temp* .hypothesis \
		.mypy_cache .ruff_cache .pytest_cache .import_linter_cache twistd.pid \
		twisted/plugins/dropin.cache
	find twisted_socks5 tests benchmarks twisted docs -name __pycache__ -prune -exec rm -r {} +

distclean: clean ## remove .venv as well
	rm -rf "$(VENV)"
