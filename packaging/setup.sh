#!/bin/sh
# Makes this checkout ready to run: Debian packages that are missing, then a virtual environment with pinned
# packages. Safe to repeat; does nothing when all is there.   setup.sh [requirements file]
set -eu
cd "$(dirname "$0")/.."
requirements=${1:-requirements.lock}

say() { echo "setup: $*" >&2; }

packages() { grep -v '^#' packaging/debian-packages.txt; }

missing() {
  # shellcheck disable=SC2046
  dpkg-query -W -f '${Package} ${db:Status-Status}\n' $(packages) 2>/dev/null | awk '$2=="installed"{print $1}' | sort -u > "$1"
  packages | sort -u | comm -23 - "$1"
}

install_packages() {
  have=$(mktemp)
  need=$(missing "$have" | tr '\n' ' ')
  rm -f "$have"
  [ -n "$(echo "$need" | tr -d ' ')" ] || return 0
  if ! command -v apt-get >/dev/null; then say "not a Debian system: install yourself: $need"; return 0; fi
  if [ "$(id -u)" = 0 ]; then as_root=""
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root="sudo"
  else say "neither root nor sudo: going on without: $need"; return 0; fi
  say "installing $need"
  $as_root apt-get update -qq
  # RUNLEVEL and policy-rc.d: packages start no service of their own.
  policy=/usr/sbin/policy-rc.d
  made=""
  if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null; $as_root chmod 755 $policy; made=1; fi
  # shellcheck disable=SC2086
  $as_root env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $need >/dev/null || status=$?
  [ -z "$made" ] || $as_root rm -f $policy
  return "${status:-0}"
}

python() {
  for candidate in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do
    if command -v $candidate >/dev/null && $candidate -c 'import sys, libvirt; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo $candidate
      return
    fi
  done
  say "no Python 3.11 or later with libvirt bindings: install python3-libvirt (see README)"
  return 1
}

environment() {
  stamp=.venv/.$(basename "$requirements")
  want=$(cat "$requirements" pyproject.toml | sha256sum)
  [ "$(cat $stamp 2>/dev/null || true)" = "$want" ] && [ -x .venv/bin/stacksmith ] && return 0
  say "making .venv from $requirements"
  [ -x .venv/bin/python ] || "$(python)" -m venv --system-site-packages .venv
  .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r "$requirements"
  .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
  echo "$want" > $stamp
}

install_packages
environment
