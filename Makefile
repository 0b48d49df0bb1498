.PHONY: setup demo dev test lint types bench docs clean

setup:
	packaging/setup.sh requirements.lock

demo: setup
	.venv/bin/python demo/run.py

dev:
	packaging/setup.sh requirements-dev.lock

test: dev lint types
	.venv/bin/python -m pytest -n 2 --dist loadgroup -m "not e2e"
	.venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m e2e tests/e2e tests/conformance

lint: dev
	.venv/bin/ruff format --check stacksmith tests bench demo docs
	.venv/bin/ruff check stacksmith tests bench demo docs
	.venv/bin/lint-imports

types: dev
	.venv/bin/mypy

bench: dev
	.venv/bin/python -m bench

docs: dev
	.venv/bin/python docs/reference.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
