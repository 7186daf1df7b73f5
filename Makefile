# `make run` and `make test` do all the set-up on a machine with Python 3.11, 3.12 or 3.13.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
export ZENML_ANALYTICS_OPT_IN ?= false

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "Python 3.11 to 3.13 is needed, this is %d.%d: make PYTHON=python3.11 …" % v)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

.PHONY: setup
setup: $(INSTALLED) ## Create .venv with the pinned dependencies and the feature-pipeline command

.PHONY: run
run: $(INSTALLED) ## Fill the embedded warehouse if it is empty, run the pipeline, search
	$(BIN)/feature-pipeline import samples
	$(BIN)/feature-pipeline run
	$(BIN)/feature-pipeline search "how do I retry a call with exponential backoff?"

.PHONY: test
test: lint types contracts ## Lint, types, import contracts, and all tests
	$(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

.PHONY: lint
lint: $(INSTALLED) ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(INSTALLED) ## Check types
	$(BIN)/mypy

.PHONY: contracts
contracts: $(INSTALLED) ## Check that imports go the right way
	$(BIN)/lint-imports

.PHONY: format
format: $(INSTALLED) ## Mend style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: dashboard
dashboard: $(INSTALLED) ## Open the ZenML dashboard with all runs (stop it by Ctrl-C)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/feature-pipeline dashboard

.PHONY: bench
bench: $(INSTALLED) ## Measure the whole pipeline: first load, no change, 1 % changed (OPTIONS="--documents 500")
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.pipeline $(OPTIONS)

.PHONY: bench-peers
bench-peers: $(INSTALLED) .venv-peers/installed ## Measure what people use instead, on the same documents
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.peers.run --peers-python .venv-peers/bin/python $(OPTIONS)

.venv-peers/installed: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

.PHONY: bench-memory
bench-memory: $(INSTALLED) ## Measure that memory stays flat: 2,000, 20,000 and 200,000 documents
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.memory $(OPTIONS)

.PHONY: bench-embedding
bench-embedding: $(INSTALLED) ## Measure the encoder beside sentence-transformers and the machine's GEMM speed
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.embedding $(OPTIONS)

.PHONY: bench-start-up
bench-start-up: $(INSTALLED) ## Measure --help, status and a run without changes beside ZenML's own start
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.start_up $(OPTIONS)

.PHONY: bench-incremental
bench-incremental: $(INSTALLED) ## Measure what a run costs when little has changed
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.incremental

.PHONY: bench-versions
bench-versions: $(INSTALLED) ## Measure what versions cost: disk, commits, diff, pruning
	$(BIN)/python -m benchmarks.versions

.PHONY: bench-export
bench-export: $(INSTALLED) ## Measure what an export costs, and that its memory stays flat
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.export

.PHONY: bench-retrieval
bench-retrieval: $(INSTALLED) ## Measure how good the indexes are at finding: DATA=folder, FORMAT=spans or beir
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.retrieval --data $(DATA) --format $(or $(FORMAT),spans)

REFERENCES := feature_store/encoders/reference_vectors
.PHONY: reference-vectors
reference-vectors: $(INSTALLED) ## Make the packaged model's check vectors anew, after an upgrade of sentence-transformers
	rm -rf $(REFERENCES) .reference-vectors
	HF_HUB_OFFLINE=1 XDG_CACHE_HOME=.reference-vectors $(BIN)/python -c \
		"from feature_store import encoders, index_config; encoders.load_encoder(index_config.EncoderConfig()).load()"
	mv .reference-vectors/rag-feature-pipeline/models $(REFERENCES)
	rm -r .reference-vectors

.PHONY: lock
lock: $(INSTALLED) ## Resolve the dependencies anew into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade --no-header \
		--no-annotate --no-emit-index-url --no-emit-find-links $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS)) \
		--output-file requirements.lock.new
# torch brings the CUDA packages that fit it, or none for its CPU build: they are its business.
	grep -Ev '^(nvidia-|cuda-|triton|torch==)' requirements.lock.new > requirements.lock
	echo 'torch==2.13.0' >> requirements.lock
	rm requirements.lock.new

.env.compose:
	umask 077; $(PYTHON) -c 'import re, secrets, sys; sys.stdout.write(re.sub(r"(?m)^(\w+=)<generate>$$", lambda line: line[1] + secrets.token_hex(32), sys.stdin.read()))' < .env.example > $@.new && mv $@.new $@

.PHONY: up
up: .env.compose ## Start MongoDB, Qdrant and ZenML by Docker Compose (see docs/deployment.md)
	docker compose --env-file .env.compose up --detach --wait

.PHONY: clean
clean: ## Remove the virtual environment and caches; data/ stays
	rm -rf .venv .venv-peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
