#!/usr/bin/env python3
"""Does the live engine, its kernels on the CPU's emulator, leave a run that `orrery validate live` can judge?"""
import csv
import json
import subprocess
import unittest

from harness import BAD_INPUT, NO_DEVICE, OK, ORRERY, SLO_MISSED, USAGE, Case, environment, main

LIVE = ORRERY.parent / "orrery-live-emulated"
TOY = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 64,
       "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64, "vocab_size": 64,
       "max_position_embeddings": 64, "tie_word_embeddings": True, "torch_dtype": "bfloat16"}
SCENARIO = {"model": "toy/config.json", "hardware": {"gpu": "h200-sxm"},
            "engine_args": {"max_num_seqs": 2, "max_num_batched_tokens": 16, "num_gpu_blocks_override": 20,
                            "max_cudagraph_capture_size": 2},
            "workload": {"random_input_len": 12, "random_output_len": 3, "num_prompts": 3, "request_rate": 1000}}


@unittest.skipUnless(LIVE.exists(), "orrery-live-emulated is not built")
class Live(Case):
    def setUp(self):
        super().setUp()
        (self.folder / "toy").mkdir()
        (self.folder / "toy/config.json").write_text(json.dumps(TOY))
        (self.folder / "scenario.json").write_text(json.dumps(SCENARIO))

    def live(self, *args):
        return subprocess.run([str(LIVE), *args], cwd=self.folder, env=environment(), encoding="utf-8",
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)

    def test_is_a_live_run_complete_and_validated(self):
        done = self.live("--scenario", "scenario.json", "--out", "run-1")
        self.assertEqual(done.returncode, OK, done.stderr)
        with open(self.folder / "run-1/requests.csv") as file:
            requests = list(csv.DictReader(file))
        self.assertEqual([(r["output_tokens"], r["failure"]) for r in requests], [("3", "")] * 3)
        with open(self.folder / "run-1/steps.csv") as file:
            steps = list(csv.DictReader(file))
        self.assertEqual(sum(int(s["prefill_tokens"]) for s in steps), 36)
        self.assertEqual(sum(int(s["decode_seqs"]) for s in steps), 6)
        manifest = json.loads((self.folder / "run-1/manifest.json").read_text())
        self.assertEqual(manifest["live"]["device"], "emulator")
        self.assertEqual(manifest["config"]["engine"]["value"], "live@1")
        for name in ("summary.json", "timeseries.csv", "timeline.pftrace"):
            self.assertTrue((self.folder / "run-1" / name).exists(), name)

        judged = self.run_orrery("validate", "live", "run-1", "--json")
        self.assertIn(judged.returncode, (OK, SLO_MISSED), judged.stderr)  # an emulator's times are nobody's
        report = json.loads(judged.stdout)["reports"][0]
        self.assertEqual(report["steps"][0]["steps"], len(steps))
        self.assertIn("overheads of live@1 are not measured", judged.stderr)

    def test_is_what_the_live_engine_does_not_compute_named(self):
        gemma = self.live("-m", "gemma-2-2b", "-g", "h200-sxm", "--out", "none")
        self.assertEqual(gemma.returncode, BAD_INPUT)
        self.assertIn("does not compute norms after its blocks yet, which gemma-2-2b needs", gemma.stderr)


class Validate(Case):
    def test_is_a_machine_without_the_live_engine_or_a_gpu_told_so(self):
        (self.folder / "scenario.json").write_text(json.dumps(SCENARIO))
        if (ORRERY.parent / "orrery-live").exists():
            self.skipTest("orrery-live is built here")
        self.refuse(NO_DEVICE, "validate", "live", "--run", "scenario.json", says=["orrery-live"])

    def test_are_wrong_words_refused(self):
        self.refuse(USAGE, "validate", "live", says=["run directories"])
        self.succeed("run", "-m", "llama-3.1-8b", "-g", "h100-sxm", "--num-prompts", "5", "--out", "simulated")
        self.refuse(BAD_INPUT, "validate", "live", "simulated", says=["not served by orrery-live"])


if __name__ == "__main__":
    main()
