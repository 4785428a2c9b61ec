# Everything a developer or a newcomer does, one target each. `make run` and `make test` set up all they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STATE ?=
MINUTES ?=
WHERE_POSSIBLE ?=
DIR ?=
COVERAGE ?=
LABELS ?=
SHORT ?=
CONFIG ?= feeds.yaml
WRONG ?=
PREFIX ?= /opt/claimwatch
SYSCONFDIR ?= /etc
UNITDIR ?= /etc/systemd/system
BINDIR ?= /usr/local/bin
DESTDIR ?=
LOOK_TOOLS := axe-core@4.14.1 html-validate@11.21.1 @jsx-email/doiuse-email@1.0.4
PLACES = PYTHON="$(PYTHON)" PREFIX="$(PREFIX)" SYSCONFDIR="$(SYSCONFDIR)" UNITDIR="$(UNITDIR)" BINDIR="$(BINDIR)" DESTDIR="$(DESTDIR)"
MEASURED = $(if $(filter yes,$(COVERAGE)),--cov --cov-append --cov-report=)
# Tests start hundreds of processes, which would each compile all of the program anew where the environment says so.
COMPILED := PYTHONDONTWRITEBYTECODE=
.DEFAULT_GOAL := help

.PHONY: help run demo schemas test lint format pytest test-pg test-mail test-look coverage test-kill test-slow test-corpus \
	test-histories test-package bench bench-hostile bench-matching bench-backfill bench-digests bench-stories bench-feeds score \
	bench-running picture install uninstall test-systemd soak clean

help: ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(VENV)/.run ## start the watch on feeds.yaml (STATE=DIR puts its log there)
	$(BIN)/claimwatch run $(if $(STATE),--state $(STATE))

demo: $(VENV)/.run ## see it in a few seconds, without network: a made-up week of news (DIR=DIR keeps it there)
	$(BIN)/claimwatch demo $(DIR)

install: ## put it on this machine as a systemd service, or bring that up to this checkout (as root; PREFIX, DESTDIR: docs/operations.md)
	$(PLACES) systemd/install.sh install

uninstall: ## take the service away; the log, feeds.yaml and passwords stay
	$(PLACES) systemd/install.sh uninstall

test: lint pytest ## linters and tests

lint: $(VENV)/.dev ## format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev ## put the code into its one form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

pytest: $(VENV)/.dev ## the tests of the default run (COVERAGE=yes measures them; it costs half as much again)
	$(if $(MEASURED),$(BIN)/coverage erase)
	$(COMPILED) $(BIN)/pytest -n auto --dist worksteal $(MEASURED) \
		-m "not slow and not postgresql and not mail and not look and not systemd"

test-pg: $(VENV)/.dev ## what runs on PostgreSQL, in a private cluster (as root, installs Debian's postgresql-15 if missing)
	$(COMPILED) $(BIN)/python -m tests.cluster -- $(BIN)/pytest -n auto --dist worksteal $(MEASURED) -m "postgresql and not slow"

test-mail: $(VENV)/.dev ## what goes through Postfix and Dovecot, private ones (as root; installs Debian's packages if missing)
	$(COMPILED) $(BIN)/python -m tests.mailhost -- $(BIN)/pytest -n 2 $(MEASURED) -m mail

test-systemd: $(VENV)/.dev ## the service on a Debian booted for it: installed, started, hung, killed, upgraded (as root; some minutes)
	$(BIN)/python -m tests.booted $(if $(filter yes,$(WHERE_POSSIBLE)),--where-possible) -- $(BIN)/pytest -m "systemd$(if $(filter yes,$(SHORT)), and not slow)" tests/test_booted.py

coverage: $(VENV)/.dev ## how much was run by `make test test-pg test-mail COVERAGE=yes`; fails below 95 in a hundred
	$(BIN)/coverage report --fail-under=95

test-kill: $(VENV)/.dev ## kill -9 at fifty random moments of poll and deliver
	CLAIMWATCH_KILLS=50 $(BIN)/pytest -p no:randomly tests/test_kill.py

test-slow: $(VENV)/.dev ## the matcher held against a slow, obvious one in ten thousand random cases (a minute)
	CLAIMWATCH_CASES=10000 $(BIN)/pytest tests/test_matching_properties.py

test-corpus: $(VENV)/.dev ## all snapshots of the shared corpus, where it is there (a few minutes)
	$(BIN)/pytest -m slow tests/test_corpus.py tests/test_items.py

test-histories: $(VENV)/.dev ## twelve real feeds' histories through every fault of the network and the clock (CLAIMWATCH_DAYS=60; a few minutes)
	$(BIN)/pytest -m slow tests/test_histories.py

test-look: $(VENV)/.dev $(VENV)/.look ## digests in a real browser and by linters (installs Debian's chromium if missing; needs npm)
	docs/picture.sh --install
	CLAIMWATCH_LOOK_TOOLS=$(CURDIR)/$(VENV)/look/node_modules $(BIN)/pytest -n auto -m look tests/test_look.py

test-package: $(VENV)/.dev ## wheel, sdist and checkout installed by pip into empty environments (needs a package index)
	$(BIN)/pytest -m slow tests/test_package.py

schemas: $(VENV)/.dev ## make the JSON Schemas of feeds.yaml and seeds anew from the code
	$(BIN)/claimwatch schema feeds > daemon/start/schemas/feeds.schema.json.new
	mv daemon/start/schemas/feeds.schema.json.new daemon/start/schemas/feeds.schema.json
	$(BIN)/claimwatch schema seed > daemon/start/schemas/seed.schema.json.new
	mv daemon/start/schemas/seed.schema.json.new daemon/start/schemas/seed.schema.json

bench: $(VENV)/.dev ## what docs/benchmarks.md quotes (PostgreSQL's figures too, where it is installed)
	$(BIN)/python -m tests.cluster --durable --if-installed -- $(BIN)/python -m benchmarks.straight_path

bench-hostile: $(VENV)/.dev ## how long hostile documents hold up the event loop (a few minutes)
	$(BIN)/python -m benchmarks.hostile_loop

bench-matching: $(VENV)/.bench ## what matching costs, beside regular expressions, FTS5 and tantivy (needs the shared corpus; five minutes)
	$(BIN)/python -m benchmarks.matching

bench-backfill: $(VENV)/.dev ## how fast stored items are matched against new terms, and what polls notice (three minutes)
	$(BIN)/python -m benchmarks.backfill

bench-feeds: $(VENV)/.dev ## what ten thousand feeds cost that are not due (a few seconds)
	$(BIN)/python -m benchmarks.idle_feeds

bench-running: $(VENV)/.dev ## what a running watch costs: idle for ten minutes, and ready over a million events (half an hour)
	$(BIN)/python -m benchmarks.running

soak: $(VENV)/.dev ## days of a watch's life in twenty minutes: whether anything grows (MINUTES=60 for longer)
	$(BIN)/python -m benchmarks.soak $(if $(MINUTES),--minutes $(MINUTES))

bench-stories: $(VENV)/.dev ## how well reports of the same news are found, by judged pairs (needs the shared corpus; a minute)
	$(BIN)/python -m benchmarks.stories

bench-digests: $(VENV)/.dev ## what a digest of thousands costs, and how long it keeps others from writing (needs the shared corpus)
	$(BIN)/python -m benchmarks.digests

score: $(VENV)/.dev ## how well feeds.yaml finds labelled news (LABELS=FILE, CONFIG=FILE; WRONG=yes lists what is wrong)
	$(BIN)/python -m benchmarks.score --config $(CONFIG) $(if $(LABELS),--labels $(LABELS)) $(if $(filter yes,$(WRONG)),--wrong)

picture: $(VENV)/.run ## docs/digest.png: the demo's digest in a real browser
	docs/picture.sh $(BIN)/claimwatch docs/digest.png

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("claimwatch needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.run

$(VENV)/.bench: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@ $(VENV)/.run

$(VENV)/.look: Makefile | $(VENV)/bin/python
	npm install --silent --no-audit --no-fund --ignore-scripts --prefix $(VENV)/look $(LOOK_TOOLS)
	@touch $@

clean: ## take away what make made
	rm -rf $(VENV) .coverage* .mypy_cache .ruff_cache .pytest_cache build dist
