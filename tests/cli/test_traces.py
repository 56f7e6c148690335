#!/usr/bin/env python3
"""Is a bad trace refused at its file, line, column and value, with exit code 3, or skipped when asked?"""
import gzip
import json

from harness import BAD_INPUT, OK, Case, main

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
FIRST = "2023-11-16 18:15:46.6805900,374,44\n"
LAST = "2023-11-16 18:15:50.9951690,396,109\n"


class Replay(Case):
    def replay(self, trace, *more):
        return ("run", "-m", "llama-3.1-8b", "-g", "h100-sxm", "--trace", trace, "--out", "none", *more)


class BadRows(Replay):
    def test_is_a_bad_value_shown_where_it_stands(self):
        trace = self.write("t.csv", HEADER + FIRST + "2023-11-16 18:15:48.0000000,874,12a\n" + LAST)
        self.refuse(BAD_INPUT, *self.replay(trace), says=["t.csv:3:", '12a', "^", "--on-bad-row skip"])

    def test_are_bad_rows_skipped_counted_and_said_when_asked(self):
        trace = self.write("t.csv", HEADER + FIRST + "2023-11-16 18:15:48.0000000,874,12a\n" + LAST)
        run = self.succeed(*self.replay(trace, "--on-bad-row", "skip", "--json"))
        self.assertEqual(json.loads(run.stdout)["completed"], 2)
        self.assertRegex(run.stderr, "skipped.*1|1.*skipped")

    def test_is_each_kind_of_bad_row_refused(self):
        rows = {
            "negative": "2023-11-16 18:15:48.0000000,-5,12\n",
            "huge": "2023-11-16 18:15:48.0000000,99999999999999,12\n",
            "missing field": "2023-11-16 18:15:48.0000000,12\n",
            "no time": ",12,12\n",
            "nan time": "nan,12,12\n",
            "cut": "2023-11-16 18:1",
            "out of order": "2023-11-16 17:15:48.0000000,12,12\n",
            "binary": b"\x00\xff\xfe,\x01,\x02\n".decode("latin1"),
        }
        for kind, row in rows.items():
            with self.subTest(kind=kind):
                trace = self.write("t.csv", (HEADER + FIRST + row).encode("latin1"))
                self.refuse(BAD_INPUT, *self.replay(trace), says=["t.csv:3"])

    def test_are_duplicate_rows_two_requests(self):
        trace = self.write("t.csv", HEADER + FIRST + FIRST)
        self.assertEqual(json.loads(self.succeed(*self.replay(trace, "--json")).stdout)["completed"], 2)

    def test_are_crlf_and_a_missing_last_newline_read(self):
        trace = self.write("t.csv", (HEADER + FIRST + LAST).replace("\n", "\r\n").rstrip())
        self.assertEqual(json.loads(self.succeed(*self.replay(trace, "--json")).stdout)["completed"], 2)

    def test_is_a_prompt_beyond_the_context_counted_as_failed(self):
        trace = self.write("t.csv", HEADER + FIRST + "2023-11-16 18:15:48.0000000,9000,12\n")
        out = json.loads(self.succeed(*self.replay(trace, "--max-model-len", "4096", "--json")).stdout)
        self.assertEqual((out["completed"], out["failed"]), (1, 1))


class BadFiles(Replay):
    def test_is_a_missing_file_refused(self):
        self.refuse(BAD_INPUT, *self.replay("nowhere.csv"), says=["nowhere.csv"])

    def test_is_an_empty_file_refused(self):
        for name, text in (("empty.csv", ""), ("header.csv", HEADER)):
            with self.subTest(name=name):
                self.refuse(BAD_INPUT, *self.replay(self.write(name, text)), says=[name])

    def test_is_a_folder_refused(self):
        self.refuse(BAD_INPUT, *self.replay(self.folder))

    def test_is_an_unknown_format_refused_with_the_known_ones(self):
        self.refuse(BAD_INPUT, *self.replay(self.write("odd.csv", "a,b,c\n1,2,3\n")), says=["odd.csv", "azure"])

    def test_is_a_cut_gzip_refused(self):
        whole = gzip.compress((HEADER + FIRST * 3000).encode())
        self.refuse(BAD_INPUT, *self.replay(self.write("cut.csv.gz", whole[: len(whole) // 2])), says=["cut.csv.gz"])

    def test_is_a_whole_gzip_read(self):
        trace = self.write("whole.csv.gz", gzip.compress((HEADER + FIRST * 30).encode()))
        self.assertEqual(json.loads(self.succeed(*self.replay(trace, "--json")).stdout)["completed"], 30)


class Tools(Replay):
    def test_does_stats_say_what_was_read(self):
        trace = self.write("t.csv", HEADER + FIRST + LAST)
        run = self.run_orrery("trace", "stats", trace)
        self.assertEqual(run.returncode, OK, run.stderr)
        self.assertIn("azure", run.stdout + run.stderr)
        self.assertIn("2", run.stdout)


if __name__ == "__main__":
    main()
