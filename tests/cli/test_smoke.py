#!/usr/bin/env python3
"""Does every shipped model run on every shipped device, or say that it does not fit?

Under the sanitizers each model once and each device once, unless ORRERY_SMOKE=full.
"""
import itertools
import json
import os

from harness import INFEASIBLE, OK, Case, main

FULL = os.environ.get("ORRERY_SMOKE") == "full"
# 1454 GiB of weights in four bits.
BEYOND_A_SERVER = {"kimi-k3"}
QUESTION = ["--num-prompts", "5", "--random-input-len", "64", "--random-output-len", "8", "--max-model-len", "1024",
            "--out", "none", "--json"]


class Smoke(Case):
    def names(self, verb):
        listed = json.loads(self.succeed(verb, "list", "--json").stdout)
        entries = listed if isinstance(listed, list) else listed[verb]
        return [e if isinstance(e, str) else e["name"] for e in entries]

    def completes(self, model, gpu):
        """On the first split that fits; False when none up to 8 GPUs does."""
        for tp in (1, 2, 4, 8):
            run = self.run_orrery("run", "-m", model, "-g", gpu, "-tp", tp, *QUESTION)
            if run.returncode == OK:
                self.assertEqual(json.loads(run.stdout)["completed"], 5)
                return True
            if run.returncode != INFEASIBLE and "divide" not in run.stderr:
                self.fail(f"{model} on {gpu} x{tp}: exit {run.returncode}\n{run.stderr}")
        return False

    def test_does_each_model_run(self):
        models = self.names("models")
        self.assertGreaterEqual(len(models), 24)
        for model in models:
            with self.subTest(model=model):
                self.assertEqual(self.completes(model, "b200"), model not in BEYOND_A_SERVER)

    def test_does_each_device_run(self):
        gpus = self.names("gpus")
        self.assertGreaterEqual(len(gpus), 12)
        for gpu in gpus:
            with self.subTest(gpu=gpu):
                self.assertTrue(self.completes("qwen3-4b", gpu))

    def test_does_each_pair_run_or_say_that_it_does_not_fit(self):
        if not FULL:
            self.skipTest("every pair: ORRERY_SMOKE=full")
        for model, gpu in itertools.product(self.names("models"), self.names("gpus")):
            with self.subTest(model=model, gpu=gpu):
                self.completes(model, gpu)


if __name__ == "__main__":
    main()
