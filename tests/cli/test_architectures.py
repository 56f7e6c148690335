#!/usr/bin/env python3
"""Do architectures compare as their sizes say, and are methods and experts asked for by name?"""
import json

from harness import BAD_INPUT, OK, USAGE, Case, main

BEYOND_A_SERVER = {"kimi-k3"}  # see test_smoke.py
ARCH = ["explain", "arch", "-g", "h100-sxm"]


class Architectures(Case):
    def curves(self, *args):
        return {c["model"]: c for c in json.loads(self.succeed(*ARCH, *args, "--json").stdout)}

    def test_does_a_state_cost_the_same_at_any_length_and_full_attention_not(self):
        curves = self.curves("llama-2-7b", "falcon-mamba-7b", "--ctx", "1k,64k")
        short, long = curves["falcon-mamba-7b"]["points"]
        self.assertEqual(short["sequence_bytes_per_gpu"], long["sequence_bytes_per_gpu"])
        self.assertEqual(short["decode_step_alone_s"], long["decode_step_alone_s"])
        short, long = curves["llama-2-7b"]["points"]
        self.assertEqual(short["sequence_bytes_per_gpu"], 1024 * 524288)
        self.assertEqual(long["sequence_bytes_per_gpu"], 64 * short["sequence_bytes_per_gpu"])
        self.assertGreater(short["max_batch"], 50 * long["max_batch"])

    def test_do_prompts_cost_more_than_twice_for_twice_the_length_under_full_attention_alone(self):
        curves = self.curves("llama-3.1-8b", "falcon-mamba-7b", "--ctx", "64k,128k")
        grows = {model: c["points"][1]["prefill_s"] / c["points"][0]["prefill_s"] for model, c in curves.items()}
        self.assertGreater(grows["llama-3.1-8b"], 2.5)
        self.assertAlmostEqual(grows["falcon-mamba-7b"], 2, delta=0.05)

    def test_does_the_table_fit_a_terminal_and_say_what_goes_beyond_a_model(self):
        run = self.succeed(*ARCH, "llama-2-7b", "mistral-7b-v0.1", "--ctx", "1k..16k", "--plot", "kv", "--svg", "kv.svg")
        self.assertLessEqual(max(map(len, run.stdout.splitlines())), 100)
        self.assertIn("8,192*", run.stdout)
        self.assertIn("A llama-2-7b", run.stdout)
        self.assertTrue((self.folder / "kv.svg").read_text(encoding="utf-8").startswith("<svg"))

    def test_are_bad_questions_refused_with_what_is_valid(self):
        self.refuse(USAGE, *ARCH, says=["no architecture is named"])
        self.refuse(USAGE, *ARCH, "llama-2-7b", "--plot", "beauty", says=["beauty", "throughput"])
        self.refuse(USAGE, *ARCH, "llama-2-7b", "--ctx", "0", says=["--ctx"])

    def test_do_experts_that_lie_whole_on_ranks_cost_other_time_than_cut_ones(self):
        run = ["run", "-m", "mixtral-8x7b", "-g", "h100-sxm", "-tp", "8", "--num-prompts", "40", "--random-input-len", "256",
               "--random-output-len", "32", "--request-rate", "20", "--json"]
        cut = json.loads(self.succeed(*run).stdout)
        whole = json.loads(self.succeed(*run, "--enable-expert-parallel").stdout)
        self.assertNotEqual(cut["mean_tpot_ms"], whole["mean_tpot_ms"])


class Prompts(Case):
    def test_does_a_prompt_longer_than_what_its_layers_choose_find_its_price(self):
        for model, tp in (("deepseek-v3.2", 8), ("llama-3.1-8b+SPA-19", 1)):
            run = self.succeed("run", "-m", model, "-g", "b200", "-tp", tp, "--max-model-len", "8192", "--num-prompts", "5",
                               "--random-input-len", "4000", "--random-output-len", "8", "--json")
            self.assertEqual(json.loads(run.stdout)["completed"], 5)


class Images(Case):
    RUN = ["run", "-m", "qwen2.5-vl-7b", "-g", "h100-sxm", "--num-prompts", "20", "--random-input-len", "200",
           "--random-output-len", "16", "--request-rate", "1", "--json"]

    def ttft(self, *args):
        return json.loads(self.succeed(*self.RUN, *args).stdout)

    def test_do_images_cost_the_time_to_the_first_token_their_tokens_and_their_encoder(self):
        text = self.ttft()
        image = self.ttft("--images-per-request", "1", "--image-size", "1024x1024")
        longer = self.ttft("--random-input-len", str(200 + 1369))  # round(1024 / 28)^2 tokens more
        self.assertEqual(image["total_input_tokens"], longer["total_input_tokens"])
        # An encoder of 0.63 B on 4 x 1369 patches: at least 1.3 * 5476 * 1e9 / 989e12 s beside the prompt.
        self.assertGreater(image["mean_ttft_ms"], longer["mean_ttft_ms"] + 5)
        self.assertGreater(longer["mean_ttft_ms"], text["mean_ttft_ms"])
        small = self.ttft("--images-per-request", "1", "--image-size", "448x448")
        self.assertLess(small["mean_ttft_ms"], image["mean_ttft_ms"])

    def test_are_images_refused_where_there_is_no_encoder_and_sizes_that_are_none(self):
        self.refuse(USAGE, "run", "-m", "qwen2.5-7b", "-g", "h100-sxm", "--images-per-request", "1",
                    says=["images-per-request", "qwen2.5-7b", "no encoder"])
        self.refuse(USAGE, *self.RUN, "--image-size", "1024", says=["1024", "width x height"])


class Presets(Case):
    def test_does_every_preset_give_the_same_requests_step_by_step(self):
        for model in json.loads(self.succeed("models", "list", "--json").stdout):
            if model["name"] in BEYOND_A_SERVER:
                continue
            with self.subTest(model["name"]):
                fast, slow = self.records(model["name"]), self.records(model["name"], "--stepwise")
                self.assertEqual(fast, slow)
                self.assertGreater(len(fast.splitlines()), 60)

    def records(self, model, *mode):
        """requests.csv of a short run on the fewest GPUs that hold the model."""
        for tp in (1, 2, 4, 8):
            out = self.folder / f"{model}{len(mode)}"
            run = self.run_orrery("run", "-m", model, "-g", "b200", "-tp", tp, "--max-model-len", 2048, "--num-prompts", 60,
                                  "--random-input-len", 700, "--random-output-len", 90, "--random-range-ratio", "0.5",
                                  "--request-rate", 40, "--quiet", "--out", out, *mode)
            if run.returncode == OK:
                return (out / "requests.csv").read_text(encoding="utf-8")
        self.fail(run.stderr)


class Rewrites(Case):
    def test_does_a_model_with_a_method_give_the_same_requests_step_by_step(self):
        for row in ("SPA-18", "SPA-33", "SPA-34", "SPA-38", "EFA-08", "EFA-10", "LIN-09", "LIN-19", "HYB-01", "HYB-02", "MOE-09",
                    "MOE-13", "CMP-04+CMP-05", "MM-04"):
            with self.subTest(row=row):
                answers = []
                for mode in ((), ("--stepwise",)):
                    out = self.folder / f"{row}{len(mode)}"
                    self.succeed("run", "-m", f"llama-2-7b+{row}", "-g", "h200", "--num-prompts", 30, "--random-input-len", 1500,
                                 "--random-output-len", 90, "--random-range-ratio", "0.5", "--request-rate", 20, "--quiet",
                                 "--out", out, *mode)
                    answers.append((out / "requests.csv").read_text(encoding="utf-8"))
                self.assertEqual(*answers)

    def test_is_a_row_that_does_not_apply_refused_with_those_that_do(self):
        self.refuse(BAD_INPUT, "models", "show", "falcon-mamba-7b+SPA-18", says=["SPA-18 cannot be applied", "CMP-"])
        self.refuse(BAD_INPUT, "models", "show", "llama-3.1-8b+ENG-12", says=["--speculative-config"])

    def test_does_the_list_of_methods_say_which_can_be_applied(self):
        self.assertIn("-m MODEL+SPA-18", self.succeed("list", "methods", "SPA-18").stdout)
        rows = {r["id"]: r for r in json.loads(self.succeed("list", "methods", "BAS", "--json").stdout)}
        self.assertFalse(rows["BAS-04"]["rewrites_models"])


class Speculation(Case):
    def test_does_an_explained_step_yield_the_tokens_that_are_expected_to_be_kept(self):
        def step(*more):
            return json.loads(self.succeed("explain", "step", "-m", "llama-3.1-8b", "-g", "h100-sxm", "--batch", 8, "--ctx", 1024,
                                           "--json", *more).stdout)
        # 1 + 0.5 + 0.25 + 0.125 tokens of each sequence (Leviathan et al., equation 1).
        drafted = step("--speculative-config", '{"method": "eagle3", "num_speculative_tokens": 3, "acceptance": 0.5}')
        self.assertAlmostEqual(drafted["output_tokens_per_s"] * drafted["total_us"], 8e6 * 1.875, places=3)
        self.assertGreater(drafted["total_us"], step()["total_us"])
        self.assertTrue(0 < drafted["speculation"]["draft_share"] < 1)
        self.assertNotIn("speculation", step())


class Methods(Case):
    def test_does_a_row_say_its_parameters_and_what_its_test_asserts(self):
        rows = json.loads(self.succeed("list", "methods", "SPA-18", "--json").stdout)
        self.assertEqual([r["id"] for r in rows], ["SPA-18"])
        self.assertIn("attention", rows[0]["blocks"])
        self.assertIn(rows[0]["test"], ("law", "kernel", "headline"))
        self.assertTrue(rows[0]["works_when"])

    def test_are_methods_found_by_group_and_by_block(self):
        lin = json.loads(self.succeed("list", "methods", "LIN", "--json").stdout)
        self.assertEqual(len(lin), 35)
        states = json.loads(self.succeed("list", "methods", "state", "--json").stdout)
        self.assertGreater(len(states), 30)
        self.refuse(USAGE, "list", "methods", "XYZ", says=["XYZ", "SPA"])


if __name__ == "__main__":
    main()
