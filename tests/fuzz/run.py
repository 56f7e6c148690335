#!/usr/bin/env python3
"""Runs each libFuzzer program of a build for its share of a time budget, starting from the shipped samples.

    tests/fuzz/run.py --build build/fuzz --seconds 30

A crash leaves its input in the build folder, which the message names, and exits 1.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Where each program's first inputs come from.
SEEDS = {
    "fuzz_trace": ["traces/samples/*"],
    "fuzz_config": ["models/*/config.json"],
    "fuzz_scenario": ["traces/scenarios/*.json"],
}


def corpus_for(name, build):
    """A fresh folder of seeds, flat and numbered, for libFuzzer to start from and add to."""
    corpus = build / "corpus" / name
    shutil.rmtree(corpus, ignore_errors=True)
    corpus.mkdir(parents=True)
    seeds = [f for pattern in SEEDS.get(name, []) for f in sorted(ROOT.glob(pattern)) if f.is_file()]
    for number, seed in enumerate(seeds):
        shutil.copy(seed, corpus / f"seed{number:03d}")
    return corpus, len(seeds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=30)
    args = parser.parse_args()
    build = args.build.resolve()
    programs = sorted(p for p in build.glob("fuzz_*") if p.is_file() and os.access(p, os.X_OK))
    if not programs:
        print("fuzz: no programs built")
        return 1
    share = max(1, args.seconds // len(programs))
    failed = False
    for program in programs:
        corpus, seeds = corpus_for(program.name, build)
        run = subprocess.run(
            [program, corpus, f"-max_total_time={share}", "-max_len=65536", "-timeout=10", "-rss_limit_mb=2048",
             "-print_final_stats=1", "-verbosity=0", f"-artifact_prefix={build}/{program.name}."],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
            env=os.environ | {"ORRERY_DATA": str(ROOT)})
        inputs = next((line.split()[-1] for line in run.stdout.splitlines() if "number_of_executed_units" in line), "?")
        print(f"{program.name}: {seeds} seeds, {inputs} inputs in {share} s, {'ok' if run.returncode == 0 else 'FAILED'}")
        if run.returncode:
            failed = True
            print(run.stdout[-6000:])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
