#!/usr/bin/env python3
"""Does `orrery compare` tell a change from noise, and gate on limits?"""
import json

from harness import BAD_INPUT, SLO_MISSED, SMALL, USAGE, Case, main


class Compare(Case):
    def setUp(self):
        super().setUp()
        self.succeed(*SMALL, "--out", "base")
        self.succeed(*SMALL, "--max-num-batched-tokens", "256", "--max-num-seqs", "4", "--out", "slow")

    def test_is_a_run_the_same_as_itself(self):
        told = json.loads(self.succeed("compare", "base", "base", "--json").stdout)
        self.assertEqual({c["verdict"] for c in told["changes"]}, {"same"})
        self.assertEqual(told["settings"], [])

    def test_does_a_worse_run_fail_its_limit_and_a_loose_limit_pass(self):
        worse = self.run_orrery("compare", "base", "slow", "--fail-if", "mean_e2el_ms>+5%", "--json")
        self.assertEqual(worse.returncode, SLO_MISSED, worse.stderr)
        told = json.loads(worse.stdout)
        self.assertEqual(len(told["broken"]), 1)
        self.assertIn("max_num_seqs: (default) -> 4", told["settings"])
        self.succeed("compare", "base", "slow", "--fail-if", "mean_e2el_ms>+10000%", "--seeds", "0")

    def test_is_a_wrong_question_one_sentence(self):
        self.refuse(USAGE, "compare", "base", "slow", "--fail-if", "mean_e2e_ms>+5%", says=["mean_e2e_ms", "mean_e2el_ms"])
        self.refuse(USAGE, "compare", "base", "slow", "--fail-if", "mean_e2el_ms", says=["how far it may move"])
        (self.folder / "slow/summary.json").unlink()
        self.refuse(BAD_INPUT, "compare", "base", "slow", says=["slow", "summary.json", "orrery rerun slow"])


if __name__ == "__main__":
    main()
