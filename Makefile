# The entry points, for people and for CI alike. `make` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The lab's podman and the project's own tools before whatever else the machine has.
export PATH := $(CURDIR)/molecule/shared/bin:$(CURDIR)/.venv/bin:$(PATH)
LAB := molecule/shared/lab.py
PYTHON ?= python3

# Ansible and the tests need a locale that is there; ssh brings one along (LANG) that may not be.
ifneq ($(shell $(PYTHON) -c 'import locale; locale.setlocale(locale.LC_ALL, "")' 2>&1),)
export LC_ALL := C.UTF-8
endif

.PHONY: help setup lint unit test faults demo demo-down bench bench-quick ansible configure images format lock clean

help: ## List the entry points
	@sed -n 's/^\([a-z-]*\):[^#]*## /  \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14
	@echo "To work on it:"
	@sed -n 's/^\([a-z-]*\):[^#]*### /  \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

setup: ### Install what the lab and the tests need: Debian packages, .venv, images
	@molecule/shared/system_packages.sh lab
	@$(MAKE) -s -j2 .venv/.installed images

ansible: .venv/.installed ## Install what the playbooks need, and what tests them, into .venv

configure: .venv/.installed ## Ask about VPS and mail, try the answers, write inventory/mine (again: edit it)
	@ansible-playbook --inventory localhost, playbooks/configure.yml

lint: .venv/.installed ### All linters
	pytest tests/project/test_lint.py

unit: .venv/.installed ### The tests that need no containers
	pytest tests/unit tests/templates

test: setup ### Everything: linters, unit tests, the lab, every molecule scenario
	@molecule/shared/system_packages.sh lab chromium fonts-noto-cjk
	pytest -n 2 tests

faults: setup ### The long rounds of the fault suites
	SEDAI_FAULTS=full pytest tests/faults

demo: setup ## Provision, back up, break, alert, restore; leaves the lab running
	python demo/run.py

demo-down: ## Remove what the demo left
	@$(LAB) down demo

bench: .venv/.installed ### Measure ours beside rsync, restic and others; the results go to docs/performance (hours)
	python benchmarks/run.py --output docs/performance

bench-quick: .venv/.installed ### A tenth of it, judged by the recorded bounds (minutes)
	python benchmarks/run.py --quick

images: ### Build the images that are missing
	@molecule/shared/system_packages.sh lab
	@$(LAB) images

format: .venv/.installed ### Format the Python files
	ruff format .
	ruff check --fix .

lock: ### Bring requirements.lock up to date with requirements.in
	$(PYTHON) -m venv .cache/lock
	.cache/lock/bin/pip install --quiet --upgrade uv
	.cache/lock/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --upgrade --quiet \
		--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
		--output-file requirements.lock requirements.in

clean: ### Remove this checkout's labs, its .venv and the caches (images stay, for other checkouts)
	@$(LAB) down --all
	rm -rf .venv .cache .lab .ansible .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip would compile the whole bundle, of which nine tenths is never used; so only what every
# run imports is compiled beforehand.
.venv/.installed: requirements.lock
	@molecule/shared/system_packages.sh
	@echo "setup: installing the Python packages into .venv (700 MB; a minute or two)"
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@.venv/bin/pip install --quiet --no-compile --require-hashes --requirement requirements.lock
	@.venv/bin/python -m compileall -q -j0 -x '/ansible_collections/(?!ansible|containers|community/general)' .venv/lib
	@# Backups pass a cache over: what is installed here can be installed again.
	@echo "Signature: 8a477f597d28d172789f06886806bc55" > .venv/CACHEDIR.TAG
	@# For who activates it: see the locale above.
	@echo "python3 -c 'import locale; locale.setlocale(locale.LC_ALL, \"\")' 2>/dev/null || export LC_ALL=C.UTF-8" >> .venv/bin/activate
	@touch $@
