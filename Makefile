# Gator Video. Each target sets up what it needs and says what it does.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup protos lock

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make .venv with the pinned packages of requirements.lock.

$(STAMP): requirements.lock pyproject.toml
	@echo "==> making $(VENV) with the pinned packages of requirements.lock"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.lock)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --requirement requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

protos: $(STAMP) ## Generate the stubs under services/gator/ from protos/.
	@find services/gator -name '*_pb2*.py*' -delete
	@$(BIN)/python -m grpc_tools.protoc --proto_path=protos \
	  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --python_out=services --grpc_python_out=services --mypy_out=quiet:services --mypy_grpc_out=quiet:services \
	  $$(find protos -name '*.proto' | sort)
	@find services/gator -type d -not -name __pycache__ -exec touch {}/__init__.py \;
	@rm -f services/gator/type/v1/*_pb2_grpc.py*
	@touch services/gator/py.typed

lock: $(STAMP) ## Pin the newest versions that pyproject.toml allows in requirements.lock.
	@$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --fork-strategy fewest \
	  --python-version 3.11 --no-emit-index-url --no-header --no-annotate --quiet --upgrade \
	  --output-file requirements.lock
