#!/usr/bin/env python3
"""Tests of report.html: python3 run.py {built|units|browser} path/to/orrery build-folder.

built    is tools/report/dist/report.html, which is compiled into the program, what its sources give?
units    the functions of the page
browser  the page in Chromium, of real runs

They work on a copy of tools/report in the build folder, with the packages of its lock file. Without Node.js 18, npm (or a way to the
registry) or Chromium they are skipped (77) and say so.
"""
import fcntl
import filecmp
import os
import pathlib
import re
import shutil
import subprocess
import sys

SKIPPED = 77
ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tools/report"
RUN = ["run", "-m", "llama-3.1-8b", "-g", "h100-sxm", "--trace", "builtin:conversation", "--num-prompts", "2000"]


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def require(program, *others):
    for name in (program, *others):
        if found := shutil.which(name):
            return found
    return skip(f"{program} is not installed")


def install(folder):
    """The sources and their packages, once per lock file."""
    node = subprocess.run([require("node"), "--version"], capture_output=True, text=True, check=True).stdout
    if int(re.match(r"v(\d+)", node).group(1)) < 18:
        skip(f"Node.js {node.strip()} is older than 18")
    npm = require("npm")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for old in ("src", "test", "browser"):
            shutil.rmtree(folder / old, ignore_errors=True)
        shutil.copytree(SOURCE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", "dist"))
        wanted, stamp = (folder / "package-lock.json").read_text(), folder / ".installed"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        done = subprocess.run([npm, "ci", "--no-audit", "--no-fund", "--fetch-retries=1"], cwd=folder, capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            skip(f"npm could not fetch the packages of tools/report/package-lock.json: {done.stderr.strip()[-500:]}")
        stamp.write_text(wanted)


def built(folder):
    subprocess.run(["npm", "run", "--silent", "build", "--", "--outDir", "built"], cwd=folder, check=True)
    if not filecmp.cmp(folder / "built/report.html", SOURCE / "dist/report.html", shallow=False):
        sys.exit("tools/report/dist/report.html is not what its sources give: cd tools/report && npm ci && npm run build")


def units(folder):
    subprocess.run(["npm", "test", "--silent"], cwd=folder, check=True)


def browser(folder, orrery):
    chromium = require("chromium", "chromium-browser", "google-chrome")
    runs = folder / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    runs.mkdir()
    quiet = {"cwd": runs, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([orrery, *RUN, "--slo", "ttft<=10s@p99,tpot<=1s@p99", "-o", "served"], check=True, **quiet)
    subprocess.run([orrery, *RUN, "--prefill-replicas", "1", "--decode-replicas", "1", "-o", "pools"], check=True, **quiet)
    (runs / "half").mkdir()
    shutil.copy(runs / "served/timeseries.csv", runs / "half")
    subprocess.run([orrery, "report", "half"], check=True, **quiet)
    subprocess.run([require("node"), "browser/page.mjs", chromium, str(runs)], cwd=folder, check=True)


def main():
    mode, orrery, build = sys.argv[1], os.path.abspath(sys.argv[2]), pathlib.Path(sys.argv[3]).resolve()
    folder = build / "page"
    if mode == "browser":
        require("chromium", "chromium-browser", "google-chrome")
    install(folder)
    if mode == "browser":
        browser(folder, orrery)
    else:
        {"built": built, "units": units}[mode](folder)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"failed: {error}")
