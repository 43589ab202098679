# Functions that the scripts in this folder's parent share: messages, timing, and finding the checkout. Sourced, never
# run. It installs nothing and builds nothing.
# shellcheck shell=bash

# The top of the checkout, from wherever a script is called.
concerto_root() { (cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd); }

# A line that says what a script does now.
say() { printf '== %s\n' "$*"; }

# The last line of a script that cannot go on.
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# A wrong option or argument: exit status 2, as the program does.
usage_error() { printf '%s: %s (see --help)\n' "$(basename "$0")" "$*" >&2; exit 2; }

# The comment that opens the calling script is its help text.
print_help() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }

# Processors this process may use.
processors() { nproc 2>/dev/null || echo 1; }

# Seconds since the epoch with milliseconds, and the difference of two such as "12.3".
now() { date +%s.%3N; }
elapsed_since() { awk -v begin="$1" -v end="$(now)" 'BEGIN { printf "%.1f", end - begin }'; }
