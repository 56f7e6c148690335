#!/usr/bin/env python3
"""Is there a page of every run, whole or cut short, and does it hold the run's numbers?"""
import json
import re

from harness import BAD_INPUT, SMALL, Case, main


def data_of(page):
    """The document inside report.html."""
    return json.loads(re.search(r'<script id="orrery-data"[^>]*>(.*?)</script>', page.read_text(), re.S).group(1))


class Page(Case):
    def test_does_a_run_write_a_page_with_its_numbers(self):
        self.assertIn("report.html", self.succeed(*SMALL, "--out", "a").stdout)
        data = data_of(self.folder / "a/report.html")
        self.assertEqual(data["missing"], [])
        self.assertEqual(data["summary"], json.loads((self.folder / "a/summary.json").read_text()))
        self.assertEqual(data["details"], json.loads((self.folder / "a/details.json").read_text()))
        self.assertEqual(sum(band["requests"] for band in data["details"]["bands"]["e2el"]), 40)
        self.assertEqual({step["kind"] for step in data["details"]["steps"]}, {"decode", "prefill"})

    def test_is_the_page_small(self):
        self.succeed(*SMALL, "--out", "a", "--num-prompts", "4000")
        self.assertLess((self.folder / "a/report.html").stat().st_size, 1_000_000)

    def test_can_a_run_do_without(self):
        self.succeed(*SMALL, "--out", "a", "--no-report")
        self.assertFalse((self.folder / "a/report.html").exists())
        self.assertFalse((self.folder / "a/details.json").exists())

    def test_does_the_report_command_write_the_same_page(self):
        self.succeed(*SMALL, "--out", "a")
        self.succeed("report", "a", "-o", "again.html")
        self.assertEqual((self.folder / "again.html").read_bytes(), (self.folder / "a/report.html").read_bytes())
        self.assertEqual(json.loads(self.succeed("report", "a", "--json").stdout), data_of(self.folder / "again.html"))

    def test_is_a_half_written_run_shown_and_what_is_missing_told(self):
        self.succeed(*SMALL, "--out", "a", "--no-report")
        (self.folder / "a/summary.json").unlink()
        run = self.succeed("report", "a")
        self.assertIn("summary.json, details.json", run.stderr)
        self.assertEqual(data_of(self.folder / "a/report.html")["missing"], ["summary.json", "details.json"])

    def test_is_what_is_no_run_refused(self):
        self.refuse(BAD_INPUT, "report", "nowhere", says=["nowhere", "run directory"])

    def test_do_pools_and_pipelines_have_typical_steps(self):
        self.succeed(*SMALL, "--out", "a", "--prefill-replicas", "1", "--decode-replicas", "1")
        details = data_of(self.folder / "a/report.html")["details"]
        self.assertEqual([step["kind"] for step in details["steps"]], ["decode", "prefill"])
        self.assertGreater(details["bands"]["e2el"][0]["transfer_ms"], 0)
        self.succeed(*SMALL, "--out", "b", "-pp", "2")
        rows = data_of(self.folder / "b/report.html")["details"]["busiest"]["rows"]
        self.assertEqual(rows, ["replica 0", "replica 0, lane 1"])


if __name__ == "__main__":
    main()
