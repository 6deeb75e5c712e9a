#!/usr/bin/env bash
# What simulated worlds reach of the rooms that make the promises: lines of engine/src/{shard,session,sink,log} that they execute.
# Ends with 1 if a room has less than 90 %. Needs `rustup component add llvm-tools`.
#
#   tests/simulation/coverage.sh [SEEDS [STEPS]]      0..400 and 40000 if not given
#
# Lines that were not reached are listed in target/coverage/missed.txt.
set -euo pipefail
cd "$(dirname "$0")/../.."

seeds=${1:-0..400}
steps=${2:-40000}
least_percent=90
dir=$PWD/target/coverage
tools=$(dirname "$(rustc --print target-libdir)")/bin
[ -x "$tools/llvm-cov" ] || { echo "coverage.sh: llvm-cov is missing; run: rustup component add llvm-tools" >&2; exit 1; }

mkdir -p "$dir"
rm -f "$dir"/*.profraw
# Build scripts are instrumented too, and leave files of their own.
LLVM_PROFILE_FILE=/dev/null RUSTFLAGS='-C instrument-coverage' cargo build --quiet --workspace --bin aqueduct-sim --target-dir "$dir"
sim=$dir/debug/aqueduct-sim
LLVM_PROFILE_FILE=$dir/world-%p.profraw "$sim" --seeds "$seeds" --steps "$steps"
"$tools/llvm-profdata" merge -sparse "$dir"/*.profraw -o "$dir/worlds.profdata"

# Lines, and lines missed, of the files that an argument names: columns 8 and 9 of the report's last row.
lines_of() {
  "$tools/llvm-cov" report "$sim" -instr-profile "$dir/worlds.profdata" "$@" | awk '/^TOTAL/ { print $8, $9 }'
}

"$tools/llvm-cov" show "$sim" -instr-profile "$dir/worlds.profdata" -show-instantiations=false engine/src \
  | awk -F'|' '/^\/.*:$/ { file = $0 } $2 ~ /^ *0$/ { print file $1 "|" $3 }' > "$dir/missed.txt"
few=0
for room in shard session sink log; do
  read -r lines missed < <(lines_of "engine/src/$room" "engine/src/$room.rs")
  tenths=$(((lines - missed) * 1000 / lines))
  echo "$room: $((tenths / 10)).$((tenths % 10)) % of $lines lines"
  [ "$tenths" -ge $((least_percent * 10)) ] || few=1
done
exit $few
