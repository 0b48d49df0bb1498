#!/bin/sh
# Writes the lock files from pyproject.toml: exact versions and hashes, no address of any registry. What is locked stays
# at its version where pyproject.toml lets it; --upgrade takes the newest of everything.   lock.sh [--upgrade]
# Needs uv. libvirt-python is left out: it comes from Debian, or is compiled (README, "Install").
set -eu
cd "$(dirname "$0")/.."
upgrade=${1:-}
[ -z "$upgrade" ] || [ "$upgrade" = --upgrade ] || { echo "usage: lock.sh [--upgrade]" >&2; exit 2; }
lock() {
  # shellcheck disable=SC2086
  uv pip compile pyproject.toml --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
    --no-emit-package libvirt-python --quiet $upgrade "$@"
}
lock --group setup -o requirements.lock
lock --group setup --group dev --extra lab --extra postgres --extra optimal -o requirements-dev.lock
