#!/bin/sh
# Writes the lock files anew from pyproject.toml: exact versions and hashes, no address of any registry.
# Needs uv. libvirt-python is left out: it comes from Debian, or is compiled (README, "Install").
set -eu
cd "$(dirname "$0")/.."
lock() {
  uv pip compile pyproject.toml --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
    --no-emit-package libvirt-python --quiet --upgrade "$@"
}
lock --group setup -o requirements.lock
lock --group setup --group dev --extra lab --extra postgres --extra optimal -o requirements-dev.lock
