#!/usr/bin/env python3
"""Does `orrery sweep` run every point once, whatever the number of workers, and go on after an interruption?"""
import csv
import json

from harness import BAD_INPUT, USAGE, Case, main

DESIGN = ["-m", "llama-3.1-8b", "-g", "h100-sxm", "--random-input-len", "256", "--random-output-len", "32",
          "--num-prompts", "40", "--vary", "tensor_parallel_size=1,2,16", "--vary", "request_rate=10,20"]


class Sweep(Case):
    def rows(self, folder):
        with open(self.folder / folder / "sweep.csv", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def test_does_the_table_not_depend_on_the_number_of_workers(self):
        for workers in 1, 3:
            self.succeed("sweep", *DESIGN, "--out", f"w{workers}", "--workers", workers)
        self.assertEqual((self.folder / "w1/sweep.csv").read_bytes(), (self.folder / "w3/sweep.csv").read_bytes())
        rows = self.rows("w1")
        self.assertEqual([(r["tensor_parallel_size"], r["request_rate"], r["status"]) for r in rows],
                         [("1", "10", "ok"), ("1", "20", "ok"), ("2", "10", "ok"), ("2", "20", "ok"),
                          ("16", "10", "failed"), ("16", "20", "failed")])
        self.assertIn("crosses servers", rows[4]["error"])

    def test_is_a_point_what_a_run_says(self):
        self.succeed("sweep", *DESIGN, "--out", "s")
        run = self.succeed("run", *DESIGN[:10], "--request-rate", "20", "-tp", "2", "--out", "none", "--json")
        self.assertEqual(float(self.rows("s")[3]["mean_ttft_ms"]), json.loads(run.stdout)["mean_ttft_ms"])

    def test_is_nothing_run_twice_after_an_interruption(self):
        self.succeed("sweep", *DESIGN, "--out", "s")
        before = (self.folder / "s/sweep.csv").read_bytes()
        points = self.folder / "s/points.jsonl"
        lines = points.read_bytes().splitlines(keepends=True)
        points.write_bytes(b"".join(lines[:3]) + lines[3][:40])
        told = json.loads(self.succeed("sweep", *DESIGN, "--out", "s", "--json").stdout)
        self.assertEqual(told["resumed"], 3)
        self.assertEqual((self.folder / "s/sweep.csv").read_bytes(), before)

    def test_is_a_wrong_design_one_sentence(self):
        self.refuse(USAGE, "sweep", "-m", "llama-3.1-8b", "-g", "h100-sxm", says=["varies at least one setting"])
        self.refuse(USAGE, "sweep", "-m", "llama-3.1-8b", "-g", "h100-sxm", "--vary", "max_num_seq=3",
                    says=["unknown setting 'max_num_seq'", "max_num_seqs"])
        (self.folder / "s").mkdir()
        (self.folder / "s/points.jsonl").write_text("something else\n")
        self.refuse(BAD_INPUT, "sweep", *DESIGN, "--out", "s", says=["points.jsonl", "not a line of a sweep's results"])


if __name__ == "__main__":
    main()
