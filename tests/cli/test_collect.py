#!/usr/bin/env python3
"""Does `orrery calibrate collect` rehearse a whole collection without a GPU, and survive what ends one early?"""
import os
import signal
import subprocess
import time

from harness import NO_DEVICE, OK, ORRERY, USAGE, Case, environment, main

DRY = ["calibrate", "collect", "--dry-run", "--only", "norm,sampling", "--quiet"]


def rows_of(folder):
    """All lines of all tables that are rows."""
    rows = []
    for path in sorted(folder.glob("*.csv")):
        lines = path.read_text().splitlines()
        rows += [line for line in lines if not line.startswith("#")][1:]
    return rows


class Rehearsal(Case):
    def test_is_every_table_of_a_dry_run_labelled_one(self):
        run = self.succeed(*DRY, "--out", "out")
        self.assertIn("nothing was measured", run.stdout)
        tables = sorted((self.folder / "out").glob("*.csv"))
        self.assertGreater(len(tables), 1)
        for path in tables:
            lines = path.read_text().splitlines()
            self.assertEqual(lines[0], f"# class: {path.stem}")
            self.assertEqual(lines[1], "# dry run: nothing was measured")
            self.assertIn("timer: none (dry run)", lines[2])
            header = lines[3].split(",")
            for line in lines[4:]:
                cells = line.split(",")
                self.assertEqual(len(cells), len(header), line)
                self.assertGreater(float(cells[header.index("time_s")]), 1e8, "decades, so that nobody believes it")

    def test_does_a_second_run_measure_nothing_again(self):
        self.succeed(*DRY, "--out", "out")
        before = {p: p.read_bytes() for p in (self.folder / "out").glob("*.csv")}
        self.assertIn(" 0 cases measured", self.succeed(*DRY, "--out", "out").stdout)
        self.assertEqual(before, {p: p.read_bytes() for p in (self.folder / "out").glob("*.csv")})

    def test_do_rows_survive_a_killed_run_whole_and_does_the_next_go_on(self):
        command = [str(ORRERY), *DRY, "--out", "out"]
        run = subprocess.Popen(command, cwd=self.folder, env=environment(), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 60
        while run.poll() is None and time.monotonic() < deadline and len(rows_of(self.folder / "out")) < 2:
            time.sleep(0.001)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)  # orrery and the collector it started
        run.wait()
        for path in (self.folder / "out").glob("*.csv"):
            self.assertTrue(path.read_bytes().endswith(b"\n"))
        left = rows_of(self.folder / "out")
        self.succeed(*DRY, "--out", "out")
        after = rows_of(self.folder / "out")
        self.assertEqual(len(after), len(set(after)))
        self.assertLessEqual(set(left), set(after))

    def test_does_a_dry_run_without_a_folder_leave_nothing(self):
        self.succeed(*DRY)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_does_a_dry_run_keep_off_measured_tables(self):
        self.write("gemm.csv", "# class: gemm\n# p\nm,n,k,dtype,weight_dtype,time_s\n1,2,3,bf16,bf16,1e-6\n")
        self.refuse(3, *DRY, "--out", ".", says=["a dry run keeps off them", "--out"])


class Answers(Case):
    def test_is_a_missing_gpu_one_sentence_and_exit_4(self):
        run = self.run_orrery("calibrate", "collect", "--out", "out")
        if run.returncode == OK:
            self.skipTest("there is a GPU")
        self.assertEqual(run.returncode, NO_DEVICE, run.stderr)
        self.assertEqual(run.stderr.count("error: "), 1)
        self.assertFalse((self.folder / "out").exists())

    def test_does_list_name_components_cases_and_time(self):
        text = self.succeed("calibrate", "collect", "--list").stdout
        for component in ("norm", "gemm", "attention_prefill"):
            self.assertRegex(text, rf"(?m)^{component} +\d+ +\d+ s ")

    def test_is_a_slip_a_usage_error(self):
        self.refuse(USAGE, "calibrate", "collect", "--bugdet", "8m", says=["--bugdet", "--budget"])
        self.refuse(USAGE, "calibrate", "collect", "--dry-run", "--only", "gem", says=["'gem'", "gemm"])

    def test_does_help_name_the_options(self):
        text = self.succeed("calibrate", "collect", "--help").stdout
        for option in ("--budget", "--only", "--only-shapes", "--quick", "--out", "--compare", "--dry-run", "--list"):
            self.assertIn(option, text)


if __name__ == "__main__":
    main()
