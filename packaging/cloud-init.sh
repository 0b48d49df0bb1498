#!/bin/sh
# Unpacks Debian's cloud-init and the Python packages it needs into a folder, for the tests that read config drives
# with cloud-init's own code: PYTHONPATH=DIR/usr/lib/python3/dist-packages /usr/bin/python3. Installs nothing, needs
# no root. Safe to repeat; does nothing when all is there.   cloud-init.sh DIR
set -eu
[ $# = 1 ] || { echo "usage: cloud-init.sh DIR" >&2; exit 2; }
mkdir -p "$(dirname "$1")"
dir=$(realpath -m "$1")
want="$(cksum < "$0") $(cat /etc/debian_version) $(dpkg --print-architecture)"

exec 9> "$dir.lock"
flock 9
[ "$(cat "$dir/.stamp" 2>/dev/null || true)" != "$want" ] || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work" "$dir.draft"' EXIT
trap 'exit 1' HUP INT TERM

packages() { # cloud-init and the closure of its Python dependencies, without the interpreter
  apt-cache "$@" depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
    --no-enhances cloud-init 2>/dev/null | grep -E '^(cloud-init|python3-.*)$' | grep -vx python3-minimal
}

download() { # into $work/debs; the arguments are options for apt
  rm -rf "$work/debs"
  mkdir "$work/debs"
  names=$(packages "$@") || return 1
  # shellcheck disable=SC2086
  (cd "$work/debs" && apt-get "$@" -qq -o APT::Sandbox::User=root download $names)
}

if ! download 2> "$work/first"; then
  echo "cloud-init.sh: getting fresh package lists" >&2
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
  # Lists of our own: the machine's stay as they are, and another apt may run.
  set -- -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root
  apt-get "$@" -qq update
  download "$@" || { cat "$work/first" >&2; exit 1; }
fi

rm -rf "$dir.draft"
mkdir "$dir.draft"
for package in "$work"/debs/*.deb; do dpkg -x "$package" "$dir.draft"; done
echo "$want" > "$dir.draft/.stamp"
rm -rf "$dir"
mv "$dir.draft" "$dir"
