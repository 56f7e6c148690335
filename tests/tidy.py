#!/usr/bin/env python3
"""Runs clang-tidy on the files named on stdin, in parallel and within a time budget.

    git ls-files 'sim/*.cpp' | tests/tidy.py --build build/tidy --jobs 2 --seconds 300

Exits 1 when a finding is reported. Files not reached in time are counted and named, and do not fail the run:
`tools/test --full` reaches all.
"""
import argparse
import concurrent.futures
import pathlib
import subprocess
import sys
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="folder with compile_commands.json, configured with clang")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=300)
    args = parser.parse_args()
    database = (pathlib.Path(args.build) / "compile_commands.json").read_text(encoding="utf-8")
    files = [f for f in sys.stdin.read().split() if f'/{f}"' in database]
    end = time.monotonic() + args.seconds

    def tidy(file):
        if time.monotonic() > end:
            return file, None, ""
        run = subprocess.run(["clang-tidy", "-quiet", "-p", args.build, file],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        return file, run.returncode, run.stdout + (run.stderr if run.returncode and not run.stdout else "")

    failed, late = [], []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for file, code, output in pool.map(tidy, files):
            if code is None:
                late.append(file)
            elif code:
                failed.append(file)
                print(output)
    print(f"clang-tidy: {len(files) - len(late)} files read, {len(failed)} with findings")
    if late:
        print(f"clang-tidy: not reached in {args.seconds:.0f} s: {' '.join(late)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
