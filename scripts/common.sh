# Sourced by the scripts beside it: where the tree is, and how they speak.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034  # for those who source this
readonly root

# say TEXT...: one line, with the seconds since the script began.
say() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }

# fail TEXT [WHAT TO DO NEXT]: ends the script with status 1.
fail() {
  printf '%s: %s\n' "$(basename "$0")" "$1" >&2
  if [ $# -gt 1 ]; then printf '  next: %s\n' "$2" >&2; fi
  exit 1
}

# misuse TEXT: ends the script with status 2, as a wrong command line ends every program of ours.
misuse() {
  printf '%s: %s\n  next: scripts/%s --help\n' "$(basename "$0")" "$1" "$(basename "$0")" >&2
  exit 2
}

# usage: prints the comment block at the head of the script.
usage() { sed -n '2,/^[^#]/ { s/^# \{0,1\}//p }' "$0"; }
