#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds, checks the kernels, measures them, fits, and validates live.
#
#   calibration/collect_all.sh [--phase collect|live|all] [--dry-run] OUT
#
# Each phase keeps under ten minutes on 16 cores, build included, and can be called again: it goes on where it was.
#   collect   build for this GPU; every kernel against its reference; measured tables; fit.json
#   live      the live engine against the simulator on this GPU
# Below OUT, at most eight files per folder: logs/ one log per step, collect/ and live/ the results, summary.txt. The
# measured tables are in collect/tables.tar.gz. A step that fails does not stop later ones that can do without it; the
# exit code is 0 when all succeeded, 1 when one failed, 4 without a GPU.
# --dry-run needs no GPU: it builds what the host compiler can and rehearses on the emulator. It measures nothing.
# BUDGET_S (seconds per phase, default 560), BUILD (build folder, default build/gpu) and JOBS may be set from outside.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

phase=all dry_run=false out=
while [ $# -gt 0 ]; do
  case "$1" in
    --phase) phase=${2:-}; shift ;;
    --dry-run) dry_run=true ;;
    -h | --help) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "error: unknown option '$1' (see --help)" >&2; exit 2 ;;
    *) out=$1 ;;
  esac
  shift
done
case "$phase" in collect | live | all) ;; *) echo "error: --phase collect, live or all" >&2; exit 2 ;; esac
[ -n "$out" ] || { echo "error: where to? collect_all.sh [--phase collect|live|all] [--dry-run] OUT" >&2; exit 2; }

mkdir -p "$out/logs" "$out/collect" "$out/live"
out=$(cd "$out" && pwd)
if ! $dry_run && ! nvidia-smi -L >/dev/null 2>&1; then
  echo "error: no NVIDIA GPU answers nvidia-smi here; --dry-run rehearses without one  [exit 4]" >&2
  exit 4
fi
build=${BUILD:-$root/build/$($dry_run && echo rehearsal || echo gpu)}
jobs=${JOBS:-$(nproc)}
tables=$build/measured  # of this GPU; packed into OUT as they grow
data=$build/data        # the sources' data folders, with this GPU's tables and fit in place of theirs
deadline=$(($(date +%s) + ${BUDGET_S:-560}))
failed=0

say() { printf '%s\n' "$*" | tee -a "$out/summary.txt"; }

# step NAME RESERVE_S FUNCTION: runs it until RESERVE_S before the end of the phase, its output in logs/NAME.log.
step() {
  local name=$1 start code=0
  start=$(date +%s)
  local seconds=$((deadline - start - $2))
  if [ "$seconds" -lt 1 ]; then
    say "$(printf '%-12s not begun: no time left' "$name")"
    failed=1
    return 1
  fi
  end_s=$((start + seconds)) timeout --signal=INT --kill-after=10 "$seconds" bash -c "$3" >"$out/logs/$name.log" 2>&1 || code=$?
  local result=ok
  [ "$code" -eq 0 ] || { failed=1; result="FAILED (exit $code, see logs/$name.log)"; }
  say "$(printf '%-12s %s, %d s' "$name" "$result" $(($(date +%s) - start)))"
  return "$code"
}

# sm_90 has instructions of its own (90a).
architecture() {
  local capability
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')
  [ "$capability" = 90 ] && capability=90a
  echo "$capability-real"
}

# build PROGRAM...: those of them these sources have.
build() {
  local options=(-S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DORRERY_TESTS=OFF) targets=()
  [ -f "$root/third_party/pack.cmake" ] && options=(-C "$root/third_party/pack.cmake" "${options[@]}")
  command -v ccache >/dev/null && options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  if $dry_run; then
    options+=(-DORRERY_CUDA=OFF)
  else
    command -v nvcc >/dev/null || export PATH=$PATH:/usr/local/cuda/bin
    options+=(-DORRERY_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=$(architecture)")
  fi
  cmake "${options[@]}" || return
  local known
  known=$(ninja -C "$build" -t targets all)  # cmake's own list leaves out programs that lie at the top of the build
  for program in "$@"; do grep -q "^$program:" <<<"$known" && targets+=("$program"); done
  local code=0
  for program in "${targets[@]}"; do  # one that does not build leaves the others
    cmake --build "$build" -j "$jobs" --target "$program" || code=$?
  done
  return "$code"
}

save_tables() {
  [ -d "$tables" ] || return 0
  tar -C "$build" -czf "$out/collect/tables.tar.gz.new" measured && mv "$out/collect/tables.tar.gz.new" "$out/collect/tables.tar.gz"
}

# Whatever an earlier call, perhaps on another machine, left below OUT.
restore_tables() {
  mkdir -p "$build"
  [ -d "$tables" ] || [ ! -f "$out/collect/tables.tar.gz" ] || tar -C "$build" -xzf "$out/collect/tables.tar.gz"
}

lines_of() { cat "$1" 2>/dev/null | wc -l; }

# A GPU lost in one case comes back for the next process, which leaves that case out.
measure() {
  local code=4 before
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    before=$(lines_of "$tables/lost.txt")
    "$build/orrery-profile" --check --budget "$((end_s - $(date +%s) - 10))s" --out "$tables"
    code=$?
    [ "$code" -eq 4 ] && [ "$(lines_of "$tables/lost.txt")" -gt "$before" ] || break
    [ "$(date +%s)" -lt $((end_s - 30)) ] || break
  done
  return "$code"
}

rehearse() { "$build/orrery-profile-emulated" --dry-run --out "$tables"; }

device_name() { cat "$out/collect/device.txt" 2>/dev/null; }

# The data folder predictions are made from: the sources' own, this GPU's tables and fit in their place.
lay_out_data() {
  local device
  device=$(device_name)
  mkdir -p "$data/calibration"
  ln -sfn "$root/models" "$data/models"
  ln -sfn "$root/traces" "$data/traces"
  ln -sfn "$root/calibration/engines" "$data/calibration/engines"
  [ -d "$data/hwprofiles" ] || cp -r "$root/hwprofiles" "$data/hwprofiles"
  [ -n "$device" ] && [ -d "$data/hwprofiles/$device" ] || { echo "no device of hwprofiles/ was measured"; return 1; }
  rm -rf "$data/hwprofiles/$device/measured"
  ln -sfn "$tables" "$data/hwprofiles/$device/measured"
  [ ! -f "$out/collect/fit.json" ] || cp "$out/collect/fit.json" "$data/hwprofiles/$device/fit.json"
}

fit() {
  lay_out_data || return
  ORRERY_DATA=$data "$build/orrery" calibrate fit --device "$(device_name)" --update --rows "$tables" --out "$out/collect/fit.json"
}

phase_collect() {
  restore_tables
  step build 60 "build orrery-profile-emulated orrery-profile orrery_cli" || true
  if $dry_run; then
    step rehearse 5 rehearse || true
    save_tables
    return
  fi
  nvidia-smi -q >"$out/collect/nvidia-smi.txt" 2>&1
  (while sleep 60; do save_tables; done) &
  local saver=$!
  step collect 50 measure || true
  kill "$saver" 2>/dev/null
  wait "$saver" 2>/dev/null
  save_tables
  sed -n 's/^next: orrery calibrate fit --device \([^ ]*\) .*/\1/p' "$out/logs/collect.log" | tail -n 1 >"$out/collect/device.txt"
  [ -x "$build/orrery" ] && { step fit 0 fit || true; }
}

# Every scenario once, then once more for the spread from run to run; what there is no time for is left out.
serve() {
  local runs=$build/live scenario name code=0
  mkdir -p "$runs"
  lay_out_data || echo "predictions come from the sources' own tables"
  for run in 1 2; do
    for scenario in "$root"/traces/scenarios/live/*.json; do
      name=$(basename "$scenario" .json)
      [ ! -f "$runs/$name-$run.done" ] || continue
      [ "$(date +%s)" -lt $((end_s - 60)) ] || { echo "no time left for $name, run $run"; continue; }
      rm -rf "${runs:?}/$name-$run"
      if ORRERY_DATA=$data "$build/orrery-live" --scenario "$scenario" --out "$runs/$name-$run"; then
        touch "$runs/$name-$run.done"
      else
        code=1
      fi
    done
  done
  tar -C "$build" -czf "$out/live/runs.tar.gz" live || code=$?
  return "$code"
}

validate() {
  local runs=()
  for run in "$build"/live/*.done; do [ -f "$run" ] && runs+=("${run%.done}"); done
  [ ${#runs[@]} -gt 0 ] || { echo "no live run finished"; return 1; }
  ORRERY_DATA=$data "$build/orrery" validate live "${runs[@]}" --json >"$out/live/validation.json"
  ORRERY_DATA=$data "$build/orrery" validate live "${runs[@]}" | tee "$out/live/validation.txt"
  return "${PIPESTATUS[0]}"
}

phase_live() {
  restore_tables
  step build-live 60 "build orrery_cli orrery-live-emulated orrery-live" || true
  if $dry_run; then
    say "live         not rehearsed here: the tests do, on the emulator"
    return
  fi
  if [ ! -x "$build/orrery-live" ]; then
    say "live         skipped: there is no orrery-live"
    return
  fi
  step live 30 serve || true
  step validate 0 validate || true
}

export root out build jobs tables data dry_run
export -f build architecture measure rehearse lines_of device_name lay_out_data fit serve validate
say "== $(date -u +%FT%TZ) $phase$($dry_run && echo ', dry run: nothing is measured')"
[ "$phase" = live ] || phase_collect
[ "$phase" = all ] && deadline=$(($(date +%s) + ${BUDGET_S:-560}))
[ "$phase" = collect ] || phase_live
say "$([ "$failed" -eq 0 ] && echo 'all steps succeeded' || echo 'some steps failed')"
exit "$failed"
