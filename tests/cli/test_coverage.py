#!/usr/bin/env python3
"""Does `orrery calibrate coverage` say what a workload needs, and fail when less was measured than required?"""
import csv
import json

from harness import BAD_INPUT, OK, SLO_MISSED, SMALL, USAGE, Case, main

COVERAGE = ["calibrate", "coverage", *SMALL[1:]]


def sections(text):
    """The rows of a file of shapes, by kernel class."""
    out, columns = {}, None
    for line in text.splitlines():
        if line.startswith("# class: "):
            rows = out.setdefault(line[9:], [])
            columns = None
        elif not line.startswith("#"):
            cells = next(csv.reader([line]))
            if columns is None:
                columns = cells
            else:
                rows.append(dict(zip(columns, cells)))
    return out


class Coverage(Case):
    def test_does_the_table_fit_a_terminal_of_100_columns(self):
        text = self.succeed(*COVERAGE, "--shapes", "10").stdout
        for word in ("gemm", "attention_decode", "interpolated", "needed", "fitted", "worth measuring"):
            self.assertIn(word, text)
        self.assertLessEqual(max(len(line) for line in text.splitlines()), 100)

    def test_do_the_shares_of_the_json_sum_to_one(self):
        coverage = json.loads(self.succeed(*COVERAGE, "--json").stdout)
        for shares in (coverage["provenance"].values(), (k["share"] for k in coverage["classes"]),
                       (c["share"] for c in coverage["cells"])):
            self.assertAlmostEqual(sum(shares), 1)
        for k in coverage["classes"]:
            self.assertAlmostEqual(sum(k["provenance"].values()), 1)

    def test_does_the_file_hold_the_wanted_shapes_and_their_weights(self):
        run = self.succeed(*COVERAGE, "--json", "--shapes", "7", "--out", "wanted.csv")
        wanted = json.loads(run.stdout)["wanted"]
        self.assertEqual(len(wanted), 7)
        rows = sections((self.folder / "wanted.csv").read_text(encoding="utf-8"))
        self.assertEqual(sum(map(len, rows.values())), 7)
        first = wanted[0]
        row = rows[first["class"]][0]
        self.assertEqual({d: float(row[d]) for d in first["dims"]}, first["dims"])
        self.assertEqual((row["dtype"], row["weight_dtype"]), (first["dtype"], first["weight_dtype"]))
        self.assertAlmostEqual(float(row["weight"]), first["share"], places=4)

    def test_does_a_requirement_decide_the_exit_code(self):
        for required, code in (("0.5", OK), ("50%", OK), ("0.999", SLO_MISSED)):
            run = self.run_orrery(*COVERAGE, "--require", f"measured={required}")
            self.assertEqual(run.returncode, code, run.stdout + run.stderr)
            self.assertIn("PASS" if code == OK else "FAIL", run.stdout)

    def test_is_a_device_without_calibration_wholly_unmeasured(self):
        json_text = self.succeed(*COVERAGE, "--cost-model", "analytic", "--json").stdout
        coverage = json.loads(json_text)
        self.assertEqual(coverage["calibrated_share"], 0)
        self.assertEqual(coverage["provenance"]["analytic"], 1)

    def test_are_impossible_requirements_refused(self):
        for value in ("measured=2", "measured", "measured=much", "gemm=0.5"):
            with self.subTest(value=value):
                self.refuse(USAGE, *COVERAGE, "--require", value, says=["--require"])

    def test_is_a_file_that_cannot_be_written_refused(self):
        self.refuse(BAD_INPUT, *COVERAGE, "--out", self.folder / "nowhere" / "wanted.csv", says=["wanted.csv"])


if __name__ == "__main__":
    main()
