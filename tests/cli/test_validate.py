#!/usr/bin/env python3
"""Does `orrery validate` say how far predictions are from what was measured, and where?"""
import json

from harness import BAD_INPUT, OK, SLO_MISSED, USAGE, Case, main

SERVER = ["-m", "llama-3.1-8b", "-g", "h100-sxm"]


class Replay(Case):
    def setUp(self):
        super().setUp()
        self.succeed("run", *SERVER, "--num-prompts", "60", "--random-input-len", "400", "--random-output-len", "40",
                     "--random-range-ratio", "0.2", "--request-rate", "15", "--out", "real")

    def replay(self, *args):
        return json.loads(self.succeed("validate", "replay", *args, "--json").stdout)

    def test_is_a_run_replayed_under_its_own_scenario_without_error(self):
        report = self.replay("real/requests.csv", *SERVER)
        self.assertEqual(report["measured"]["completed"], 60)
        self.assertEqual(report["arrivals"], "at the recorded times")
        rows = {row["metric"]: row for row in report["rows"]}
        for key in ("request_throughput", "output_throughput", "mean_ttft_ms", "median_tpot_ms", "p99_e2el_ms"):
            self.assertLess(abs(rows[key]["error"]), 1e-3, key)
        self.assertTrue(rows["mean_tpot_ms"]["inside"])
        self.assertEqual(sum(s["requests"] for s in report["slices"] if s["by"] == "quarter"), 60)
        self.assertEqual(sum(s["requests"] for s in report["slices"] if s["by"] == "prompt"), 60)

    def test_does_a_run_directory_name_its_own_servers(self):
        by_file, by_folder = self.replay("real/requests.csv", *SERVER), self.replay("real")
        self.assertEqual(by_file["rows"], by_folder["rows"])

    def test_do_table_and_json_say_the_same(self):
        text = self.succeed("validate", "replay", "real", "-g", "a100-sxm-80g").stdout
        report = self.replay("real", "-g", "a100-sxm-80g")
        row = next(r for r in report["rows"] if r["metric"] == "mean_tpot_ms")
        line = next(l for l in text.splitlines() if l.startswith(" TPOT mean ms"))
        self.assertIn(f"{100 * row['error']:+.1f} %", line)
        self.assertIn("inside" if row["inside"] else "below", line)
        for word in ("1st quarter", "4th quarter", "prompt 128 to 511"):
            self.assertIn(word, text)

    def test_is_an_error_beyond_its_limit_told_by_the_exit_code(self):
        limits = ["--max-error", "tpot=5%,ttft@p99=300%,throughput=0.5"]
        self.assertEqual(self.run_orrery("validate", "replay", "real", *limits).returncode, OK)
        missed = self.run_orrery("validate", "replay", "real", "-g", "a100-sxm-80g", *limits)
        self.assertEqual(missed.returncode, SLO_MISSED)
        self.assertIn("MISSED  tpot=5%", missed.stdout)
        self.assertEqual(missed.stdout.count("MISSED"), 1)

    def test_is_a_summary_compared_as_the_bench_result_it_imitates(self):
        report = self.replay("real/summary.json", "-g", "h100-sxm", "--random-range-ratio", "0.2",
                             "--random-input-len", "400", "--random-output-len", "40")
        self.assertEqual(report["slices"], [])
        for row in report["rows"]:
            self.assertLess(abs(row["error"]), 1e-9, row["metric"])

    def test_is_what_cannot_be_compared_one_clear_error(self):
        self.refuse(BAD_INPUT, "validate", "replay", "real/manifest.json", *SERVER, says=["not a result of vllm bench"])
        self.refuse(BAD_INPUT, "validate", "replay", "real/timeseries.csv", *SERVER, says=["arrival_s"])
        self.refuse(BAD_INPUT, "validate", "replay", "nothing.json", *SERVER, says=["nothing.json"])
        self.refuse(BAD_INPUT, "validate", "replay", "real", "--max-error", "itl=5%", says=["mean_itl_ms"])
        unknown = self.run_orrery("validate", "replay", "real", "--max-error", "speed=5%")
        self.assertEqual(unknown.returncode, USAGE)
        self.assertIn("unknown metric 'speed'", unknown.stderr)
        self.refuse(USAGE, "validate", "replay", "real", "--num-prompts", "5", says=["num_prompts", "no effect"])
        self.refuse(USAGE, "validate", "replay", says=["FILE"])


if __name__ == "__main__":
    main()
