# Gator Video. Every target sets up what it needs in .venv and says what it does.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PROTOSET := deploy/envoy/gator.protoset
MODELS := $(VENV)/.models-installed
PEERS := build/peers/.installed
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.lock --build-constraint requirements.lock
# The branch that the API must stay compatible with.
BREAKING_AGAINST ?= .git\#branch=$(shell git rev-parse --verify --quiet origin/main >/dev/null && echo origin/main || echo main)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench bench-gpu bench-load drills protos reference lock clean

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(MODELS) ## Make .venv with all pinned packages of requirements.lock.

$(INSTALLED): requirements.lock pyproject.toml
	@echo "==> installing the services and the tools into $(VENV), versions of requirements.lock"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.lock)"
	@$(INSTALL) --group dev --editable '.[standalone,otel]'
	@touch $@

# torch by pip, which takes a CPU build where one lies on the machine.
$(MODELS): $(INSTALLED)
	@echo "==> installing what image models need: torch, diffusers, openai; the first time takes minutes"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock torch
	@$(INSTALL) --editable '.[standalone,otel,diffusers,openai]'
	@touch $@

demo: $(INSTALLED) ## Render out/demo.mp4 from prompts, with no server and no model.
	@mkdir -p out
	@echo "==> rendering examples/story.yaml to out/demo.mp4 on the embedded stack"
	@$(BIN)/gator render --scenes examples/story.yaml --output out/demo.mp4 --force
	@echo "==> done: play out/demo.mp4 in any player or browser"

test: $(MODELS) ## Run the tests.
	@echo "==> running the tests"
	@$(BIN)/pytest

lint: $(MODELS) ## Check style, types, layers, the API and what is generated.
	@echo "==> ruff"; $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "==> mypy"; $(BIN)/mypy
	@echo "==> import-linter"; PYTHONPATH=services $(BIN)/lint-imports --no-logo
	@echo "==> buf lint, format, breaking"
	@$(BIN)/buf lint && $(BIN)/buf format --diff --exit-code
	@if git cat-file -e "$(lastword $(subst =, ,$(BREAKING_AGAINST))):buf.yaml" 2>/dev/null; \
	  then $(BIN)/buf breaking --against '$(BREAKING_AGAINST)'; \
	  else echo "    nothing to compare the API with yet"; fi
	@echo "==> generated stubs"
	@rm -rf build/stubs
	@$(call generate,build/stubs)
	@diff --recursive --exclude=__pycache__ --exclude=py.typed --exclude=__init__.py services/gator build/stubs/gator \
	  || { echo "services/gator is not what protos/ generates: run make protos"; exit 1; }
	@$(call protoset,build/gator.protoset)
	@cmp --quiet build/gator.protoset $(PROTOSET) \
	  || { echo "$(PROTOSET) is not what protos/ generates: run make protos"; exit 1; }
	@echo "==> reference pages"
	@rm -rf build/reference
	@$(BIN)/python -m docs.generator build/reference
	@diff --recursive docs/reference build/reference \
	  || { echo "docs/reference is not what the program says of itself: run make reference"; exit 1; }

bench: $(INSTALLED) $(PEERS) ## Measure composing and renders against ffmpeg, moviepy and x264.
	@echo "==> measuring; this takes about 15 minutes, and BENCH_ARGS=--help tells how to take less"
	@$(BIN)/python -m tests.benchmarks $(BENCH_ARGS)

# What benchmarks compare with, apart from the services: moviepy needs an older Pillow.
$(PEERS): tests/benchmarks/peers.lock | $(INSTALLED)
	@echo "==> installing moviepy into build/peers"
	@test -x build/peers/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python build/peers
	@$(BIN)/uv pip install --quiet --python build/peers/bin/python --requirement tests/benchmarks/peers.lock \
	  && touch $@ || { rm -rf build/peers; echo "    moviepy is left out"; }

bench-gpu: $(MODELS) ## Measure image generation on this device against diffusers' stock pipeline.
	@echo "==> measuring full-size models with random weights; on a CPU use BENCH_GPU_ARGS=--tiny"
	@$(BIN)/python -m tests.benchmarks_gpu $(BENCH_GPU_ARGS)

bench-load: $(INSTALLED) ## Measure what a gateway takes in, tells and holds, on SQLite and PostgreSQL.
	@echo "==> measuring; this takes about 5 minutes, and BENCH_LOAD_ARGS=--help tells how to take less"
	@$(BIN)/python -m tests.benchmarks_load $(BENCH_LOAD_ARGS)

drills: $(INSTALLED) ## Kill services at random while they render, and take their database away for a minute.
	@echo "==> drilling; this takes about 9 minutes, and DRILLS_ARGS=--help tells how to take more or less"
	@GRPC_VERBOSITY=ERROR $(BIN)/python -m tests.drills $(DRILLS_ARGS)
	@echo "==> the database is away for a minute"
	@GATOR_DRILL_DOWN=60 $(BIN)/pytest --quiet tests/integration/test_render_drills_of_stores.py -k database_is_away

protos: $(INSTALLED) ## Generate stubs, Envoy's descriptors and docs/reference from protos.
	@find services/gator -name '*_pb2*' -delete
	@$(call generate,services)
	@find services/gator -type d -not -name __pycache__ -exec touch {}/__init__.py \;
	@$(call protoset,$(PROTOSET))
	@$(BIN)/python -m docs.generator docs/reference

reference: $(INSTALLED) ## Generate docs/reference from protos, settings and the gator command.
	@$(BIN)/python -m docs.generator docs/reference

lock: $(INSTALLED) ## Pin the newest versions that pyproject.toml allows in requirements.lock.
	@$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --fork-strategy fewest \
	  --python-version 3.11 --no-emit-index-url --no-header --no-annotate --quiet --upgrade \
	  --output-file requirements.lock
	@$(BIN)/uv pip compile --group bench --universal \
	  --python-version 3.11 --no-emit-index-url --no-header --no-annotate --quiet --upgrade \
	  --output-file tests/benchmarks/peers.lock

clean: ## Remove .venv, caches and built files.
	@rm -rf $(VENV) build out .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# $(call generate,FOLDER): messages and services of every proto, stubs of services where there are any.
define generate
mkdir -p $(1) && $(BIN)/python -m grpc_tools.protoc --proto_path=protos \
  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
  --python_out=$(1) --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) \
  $$(find protos/gator -name '*.proto' | sort) && rm -f $(1)/gator/type/v1/*_pb2_grpc.py*
endef

# $(call protoset,FILE): the gateway's API with all it refers to, and what errors carry, for Envoy.
define protoset
$(BIN)/python -m grpc_tools.protoc --proto_path=protos --include_imports --descriptor_set_out=$(1) \
  protos/gator/gateway/v1/render_service.proto protos/google/rpc/error_details.proto
endef
