# What the scripts share; sourced with bash, after `set -euo pipefail`. Sets $root and goes there.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# die MESSAGE [HINT]: the exit code is that of a missing precondition, as in the tool.
die() {
  printf 'error: %s\n' "$1" >&2
  [ -z "${2:-}" ] || printf 'hint: %s\n' "$2" >&2
  exit 3
}

# step TITLE COMMAND...: one line with the time it took; the command's output only if it fails.
step() {
  local title=$1 begun=$EPOCHREALTIME status=0
  shift
  printf '%-46s' "$title"
  "$@" >"$log" 2>&1 || status=$?
  local tenths=$(((${EPOCHREALTIME/[.,]/} - ${begun/[.,]/}) / 100000))
  printf '%4d.%d s%s\n' $((tenths / 10)) $((tenths % 10)) "$([ $status = 0 ] || printf '  FAILED (%d)' $status)"
  if [ $status != 0 ]; then
    tail -n 60 "$log" >&2
    return $status
  fi
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    env DEBIAN_FRONTEND=noninteractive "$@"
  elif command -v sudo >/dev/null; then
    sudo env DEBIAN_FRONTEND=noninteractive "$@"
  else
    die "this needs root: $*" "run it as root, or install sudo"
  fi
}

# A fresh machine may be in the middle of its own updates: wait for them.
apt_install() {
  local install=(apt-get -qq -o DPkg::Lock::Timeout=300 -o APT::Get::Assume-Yes=true install --no-install-recommends)
  apt-get -qq --simulate install "$@" >/dev/null 2>&1 || as_root apt-get -qq -o DPkg::Lock::Timeout=300 update
  as_root "${install[@]}" "$@" || {
    # The lists were there, but too old: the archive has moved on.
    as_root apt-get -qq -o DPkg::Lock::Timeout=300 update
    as_root "${install[@]}" "$@"
  }
}

# need_packages [PURPOSE...]: installs what is missing, of all purposes unless some are named.
need_packages() {
  local names
  names=$(PYTHONPATH=$root python3 -B - "$@" <<'PYTHON'
import sys
from fastballoon_cli.build.packages import missing
print(*(p.name for p in missing(sys.argv[1:] or None)))
PYTHON
  )
  [ -n "$names" ] || return 0
  command -v apt-get >/dev/null || die "packages are missing, and there is no apt-get to install them: $names"
  [ "$(id -u)" = 0 ] || ! command -v sudo >/dev/null || sudo -v # asks for the password where it can be seen
  # shellcheck disable=SC2086
  step "install $(wc -w <<<"$names") packages" apt_install $names
}

# need_venv [EXTRA]: makes .venv with the package in it, again when its requirements have changed.
need_venv() {
  local extra=${1:-} stamp=.venv/.complete-${1:-base} wanted
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python 3.11 or newer is needed"
  exec 9<pyproject.toml
  flock 9 # two scripts at once: the second waits for the first
  wanted=$(sha256sum <pyproject.toml)$root
  if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || ! .venv/bin/python -c 'import click' 2>/dev/null; then
    rm -f .venv/.complete-*
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
      need_packages venv
      step "make .venv" python3 -m venv --clear .venv
    fi
    step "install the package into .venv" .venv/bin/python -m pip install --quiet --editable ".${extra:+[$extra]}"
    printf '%s' "$wanted" >"$stamp"
    printf '%s' "$wanted" >.venv/.complete-base
  fi
  exec 9<&-
}
