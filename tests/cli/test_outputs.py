#!/usr/bin/env python3
"""Are results complete, byte-identical from run to run, and never half written without a word?"""
import json
import resource
import signal
import subprocess
import time

from harness import BAD_INPUT, OK, ORRERY, SMALL, Case, environment, main

LONG = ["run", "-m", "llama-3.1-8b", "-g", "h100-sxm", "--trace", "builtin:conversation", "--num-prompts", "20000000"]
VLLM_KEYS = ["duration", "completed", "failed", "total_input_tokens", "total_output_tokens", "request_throughput",
             "output_throughput", "total_token_throughput"]
VLLM_KEYS += [f"{stat}_{metric}_ms" for metric in ("ttft", "tpot", "itl", "e2el") for stat in ("mean", "median", "p99")]


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class Results(Case):
    def test_is_json_one_document_with_the_keys_of_vllm(self):
        run = self.succeed(*SMALL, "--out", "none", "--json")
        document = json.loads(run.stdout)
        for key in VLLM_KEYS:
            self.assertIn(key, document)
        self.assertEqual(document["completed"], 40)
        self.assertIn("orrery", document)

    def test_does_the_table_begin_with_a_verdict_and_show_the_metrics(self):
        text = self.succeed(*SMALL, "--out", "none").stdout
        for word in ("TTFT", "TPOT", "ITL", "E2E", "throughput"):
            self.assertIn(word, text)
        self.assertIn("H100", text.splitlines()[0].upper())

    def test_is_a_missed_slo_told_by_the_exit_code(self):
        self.assertEqual(self.run_orrery(*SMALL, "--out", "none", "--slo", "tpot<=1us@p99").returncode, 1)
        self.assertEqual(self.run_orrery(*SMALL, "--out", "none", "--slo", "tpot<=10s@p99").returncode, OK)

    def test_are_two_runs_identical_to_the_byte(self):
        first, second = (self.succeed(*SMALL, "--out", "none", "--json").stdout for _ in range(2))
        self.assertEqual(first, second)

    def test_does_another_seed_change_the_result(self):
        first, second = (self.succeed(*SMALL, "--out", "none", "--json", "--seed", s).stdout for s in "12")
        self.assertNotEqual(first, second)

    def test_does_the_slow_twin_say_the_same(self):
        fast, slow = (json.loads(self.succeed(*SMALL, "--out", "none", "--json", *more).stdout)
                      for more in ([], ["--stepwise"]))
        for key in VLLM_KEYS:
            self.assertEqual(fast[key], slow[key], key)


class RunDirectory(Case):
    def test_are_the_files_there_and_identical_from_run_to_run(self):
        for name in ("a", "b"):
            self.succeed(*SMALL, "--out", name)
        a, b = files_of(self.folder / "a"), files_of(self.folder / "b")
        self.assertEqual(set(a), set(b))
        for file in ("manifest.json", "summary.json", "details.json", "requests.csv", "timeseries.csv", "timeline.pftrace",
                     "report.html"):
            self.assertIn(file, a)
        for file in set(a) - {"manifest.json"}:
            self.assertEqual(a[file], b[file], file)
        self.assertEqual(len(a["requests.csv"].splitlines()), 41)

    def test_does_rerun_reproduce_the_summary(self):
        self.succeed(*SMALL, "--out", "a")
        self.succeed("rerun", "a", "--out", "b")
        self.assertEqual((self.folder / "a/summary.json").read_bytes(), (self.folder / "b/summary.json").read_bytes())

    def test_is_a_folder_that_cannot_be_written_refused_before_simulating(self):
        self.write("file", "in the way")
        self.refuse(BAD_INPUT, *SMALL, "--out", "file/inside", says=["file/inside"])
        self.assertEqual((self.folder / "file").read_text(), "in the way")


class Trouble(Case):
    def test_is_a_full_disk_on_stdout_an_error(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            run = self.run_orrery(*SMALL, "--out", "none", "--json", stdout=full)
        self.assertNotEqual(run.returncode, OK)
        self.assertIn("error: ", run.stderr)

    def test_is_a_full_disk_in_the_run_directory_an_error(self):
        def small_files():  # the nearest to a full disk without mounting one: writes beyond this fail with EFBIG
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

        run = self.run_orrery(*SMALL, "--num-prompts", "5000", "--out", "full", preexec_fn=small_files)
        self.assertEqual(run.returncode, BAD_INPUT, run.stdout + run.stderr)
        self.assertEqual(run.stderr.count("error: "), 1, run.stderr)
        self.assertIn("full/", run.stderr)
        self.assertTrue((self.folder / "full/requests.csv").stat().st_size > 0)

    def test_does_a_reader_that_leaves_early_do_no_harm(self):
        run = subprocess.run(["bash", "-c", f"{ORRERY} models list | head -1; exit ${{PIPESTATUS[0]}}"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), check=False)
        self.assertEqual((run.returncode, run.stderr), (0, b""))

    def test_does_ctrl_c_write_partial_results_and_say_so(self):
        process = subprocess.Popen([str(ORRERY), *LONG, "--out", "cut"], cwd=self.folder, env=environment(),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        requests = self.folder / "cut/requests.csv"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (requests.exists() and requests.stat().st_size > 0):
            self.assertIsNone(process.poll(), "it ended by itself")
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
        self.assertNotIn(process.returncode, (OK, 70), stderr)
        self.assertIn("interrupted", (stdout + stderr).lower())
        summary = json.loads((self.folder / "cut/summary.json").read_text())
        self.assertGreater(summary["completed"], 0)
        self.assertGreater(len(requests.read_text().splitlines()), 1)


if __name__ == "__main__":
    main()
