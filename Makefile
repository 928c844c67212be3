.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# The packages that `run` needs, and those that the other targets need; each stamp is a lock that is installed.
RUN := .venv/.requirements.lock
DEV := .venv/.requirements-dev.lock
# Modules are compiled when they are first imported: most never are, and to compile all takes as long as to install them.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --require-hashes -r
# Python keeps what it has compiled, even if the environment says otherwise: each of many processes would compile it all.
export PYTHONDONTWRITEBYTECODE :=


.PHONY: help run test test-fast lint fix fuzz bench bench-client bench-indexing bench-large bench-many bench-peer bench-texts chaos openapi schema synchronous vendor lock wheel clean

help:  ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: $(RUN) .env  ## Migrate and serve (PORT and all else: see template.env)
	@exec $(BIN)/python -m service serve

test: $(DEV)  ## Run all tests against a real PostgreSQL
	$(BIN)/python -m pytest --numprocesses=auto --dist=worksteal -m "not alone"
	$(BIN)/python -m pytest -m alone

test-fast: $(DEV)  ## Run the tests that are quick, in under a minute
	$(BIN)/python -m pytest --numprocesses=auto --dist=worksteal -m "not slow and not alone"

lint: $(DEV)  ## Check style, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

fix: $(DEV)  ## Mend what the linter can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

fuzz: $(DEV)  ## Fuzz the routes from the OpenAPI document, for some minutes
	$(BIN)/python -m tests.support.fuzz

bench: $(DEV)  ## Measure uploads and searches
	$(BIN)/python -m benchmarks.bench --json docs/benchmark.json --svg docs/benchmark.svg \
		--readme README.md

bench-indexing: $(DEV)  ## Measure how soon fresh uploads are indexed, for a quarter of an hour
	$(BIN)/python -m benchmarks.indexing

bench-large: $(DEV)  ## Measure a project of a million rows, for up to an hour
	$(BIN)/python -m benchmarks.large

bench-many: $(DEV)  ## Measure 20,000 projects
	$(BIN)/python -m benchmarks.many

bench-texts: $(DEV)  ## Measure texts through a provider that is slow, or hangs
	$(BIN)/python -m benchmarks.texts

bench-client: $(DEV)  ## Measure the client: uploads beside others, pushes, memory
	PYTHONPATH=client $(BIN)/python -m benchmarks.client

bench-peer: $(DEV)  ## Compare with Chroma, which is installed apart
	$(BIN)/python -m benchmarks.peer

chaos: $(DEV)  ## Break things while clients are at work; then ten minutes of load
	$(BIN)/python -m chaos

lock: $(DEV)  ## Write the locks anew, with the newest versions
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/python -m uv pip compile --quiet --universal --upgrade --generate-hashes --python-version 3.11 \
		--extra embedded --extra local --extra map --extra redis --extra tracing --output-file requirements.lock pyproject.toml
	$(BIN)/python -m uv pip compile --quiet --universal --upgrade --generate-hashes --python-version 3.11 \
		--extra embedded --extra local --extra map --extra redis --extra tracing --group dev --constraint requirements.lock \
		--output-file requirements-dev.lock pyproject.toml

openapi: $(DEV)  ## Write docs/openapi.yaml anew, which a test compares with what is served
	$(BIN)/python -m tests.support.openapi

synchronous: $(DEV)  ## Write the synchronous client anew, which a test compares with the asynchronous one
	$(BIN)/python client/generate_synchronous.py

schema: $(DEV)  ## Write docs/schema.sql anew, which a test compares with the migrations
	$(BIN)/python -m tests.support.schema

CONSOLE_VENDOR := service/console/vendor
CONSOLE_PACKAGES := preact@11.2.0 @preact/signals@2.11.4 @preact/signals-core@1.14.5 htm@3.1.1 \
	flatbush@4.7.0 flatqueue@3.1.0
CONSOLE_FOLDERS := $(subst @,-,$(subst @preact/,preact-,$(CONSOLE_PACKAGES)))
CONSOLE_MODULES := preact:preact-*/dist/preact.mjs hooks:preact-*/hooks/dist/hooks.mjs htm:htm-*/dist/htm.mjs \
	signals:preact-signals-*/dist/signals.mjs signals-core:preact-signals-core-*/dist/signals-core.mjs \
	flatbush:flatbush-*/index.js flatqueue:flatqueue-*/index.js

vendor:  ## Fetch the libraries of the documentation's page and of the console anew, from npm
	@mkdir -p build && cd build && npm pack --silent swagger-ui-dist@5.35.0 && tar xzf swagger-ui-dist-5.35.0.tgz
	gzip -9nc build/package/swagger-ui-bundle.js > service/api/docs_page/swagger-ui-bundle.js.gz
	gzip -9nc build/package/swagger-ui.css > service/api/docs_page/swagger-ui.css.gz
	cp build/package/LICENSE build/package/NOTICE service/api/docs_page/
	@rm -rf build/console && mkdir -p build/console && cd build/console && npm pack --silent $(CONSOLE_PACKAGES)
	@for folder in $(CONSOLE_FOLDERS); do \
		mkdir build/console/$$folder; \
		tar xzf build/console/$$folder.tgz -C build/console/$$folder --strip-components=1 || exit 1; \
		echo "== $$folder"; cat build/console/$$folder/LICENSE; echo; \
	done > $(CONSOLE_VENDOR)/LICENSES
	@for module in $(CONSOLE_MODULES); do \
		sed -e 's,"preact/hooks","./hooks.js",g; s,"preact","./preact.js",g' \
			-e 's,"@preact/signals-core","./signals-core.js",g; /^\/\/# sourceMappingURL/d' \
			-e "s,'flatqueue','./flatqueue.js',g" \
			build/console/$${module#*:} > $(CONSOLE_VENDOR)/$${module%%:*}.js || exit 1; \
	done
	cd $(CONSOLE_VENDOR) && sha256sum --check SHA256SUMS  # after a new version: sha256sum *.js LICENSES > SHA256SUMS

wheel: $(DEV)  ## Build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation

clean:  ## Remove what was built and installed, but not .data and .env
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed: make PYTHON=python3.12 …' >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo 'Python cannot make a .venv; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }

$(RUN): requirements.lock | .venv
	$(INSTALL) requirements.lock
	@cp requirements.lock $@

$(DEV): requirements-dev.lock | .venv
	$(INSTALL) requirements-dev.lock
	@cp requirements-dev.lock $@ && cp requirements.lock $(RUN)

.env:
	@umask 077 && $(PYTHON) -c "import re, secrets; print(re.sub('=change-me', \
		lambda _: '=' + secrets.token_hex(32), open('template.env').read()), end='')" > .env.new && mv .env.new .env
	@echo 'Wrote .env (mode 0600) with a fresh SERVICE_ADMINKEY and ENCRYPTION_KEY.'
