#!/usr/bin/env python3
"""Do replicas that prefill and replicas that decode run from the command line, and say what they did?"""
import json

from harness import BAD_INPUT, USAGE, Case, main

SERVER = ["-m", "llama-3.1-8b", "-g", "h100-sxm"]
POOLS = ["--prefill-replicas", "1", "--decode-replicas", "2", "--fabric", "uncontended"]
LOAD = ["--num-prompts", "80", "--random-input-len", "800", "--random-output-len", "30", "--request-rate", "12"]


class Pools(Case):
    def run_json(self, *args):
        return json.loads(self.succeed("run", *SERVER, *LOAD, *args, "--out", "none", "--json").stdout)

    def test_does_the_summary_say_what_moved_and_how_busy_each_pool_was(self):
        pools = self.run_json(*POOLS)["orrery"]["pools"]
        self.assertEqual(pools["transfers"]["count"], 80)
        self.assertEqual(pools["transfers"]["bytes"], 80 * 800 * 131072)
        self.assertEqual((pools["prefill"]["gpus"], pools["decode"]["gpus"]), (1, 2))
        for pool in ("prefill", "decode"):
            self.assertTrue(0 < pools[pool]["utilisation"] <= 1)
        self.assertNotIn("pools", self.run_json()["orrery"])

    def test_is_a_slower_network_only_ever_later(self):
        after = [*POOLS[:4], "--kv-transfer", "after", "--fabric"]
        free, moved = self.run_json(*after, "infinite"), self.run_json(*after, "uncontended")
        self.assertLess(free["mean_e2el_ms"], moved["mean_e2el_ms"])
        self.assertEqual(free["orrery"]["pools"]["transfers"]["mean_ms"], 0)

    def test_are_fast_and_stepwise_equal(self):
        fast, slow = self.run_json(*POOLS), self.run_json(*POOLS, "--stepwise")
        for key in ("mean_ttft_ms", "p99_itl_ms", "mean_e2el_ms"):
            self.assertEqual(fast[key], slow[key])
        self.assertEqual(fast["orrery"]["pools"], slow["orrery"]["pools"])

    def test_may_each_pool_have_its_device_and_split(self):
        run = self.run_json(*POOLS, "--decode-gpu", "a100-sxm-80g", "--decode-tensor-parallel-size", "2")
        self.assertEqual(run["orrery"]["pools"]["decode"]["gpus"], 4)
        self.assertEqual(run["orrery"]["pools"]["decode"]["gpu"], "a100-sxm-80g")

    def test_is_half_a_pair_refused(self):
        self.refuse(USAGE, "run", *SERVER, *LOAD, "--prefill-replicas", "1")
        self.refuse(BAD_INPUT, "run", *SERVER, *LOAD, *POOLS, "--network", "nowhere")

    def test_are_collectives_priced_and_run(self):
        rows = json.loads(self.succeed("validate", "fabric", "--fabric", "uncontended", "--json").stdout)
        large = [r for r in rows if r["bytes"] >= 1e8 and r["collective"] != "all_to_all"]
        self.assertTrue(large)
        for row in large:
            self.assertLess(abs(row["ratio"] - 1), 0.05)


if __name__ == "__main__":
    main()
