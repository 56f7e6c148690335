#!/usr/bin/env python3
"""Does the command line explain itself, and does a slip get one clear sentence and the right exit code?"""
from harness import BAD_INPUT, INFEASIBLE, SMALL, USAGE, Case, main

RUN = SMALL + ["--out", "none"]


class Help(Case):
    def test_does_help_name_every_command_a_user_starts_with(self):
        text = self.succeed("--help").stdout
        for verb in ("run", "explain", "trace", "models", "gpus", "list", "config", "validate", "calibrate", "rerun",
                     "completion", "doctor"):
            self.assertRegex(text, rf"(?m)^ +{verb} +\S", verb)

    def test_does_each_command_have_help_and_exit_0(self):
        for verb in ("run", "explain", "trace", "models", "gpus", "list", "config", "validate", "calibrate", "rerun",
                     "completion", "doctor"):
            self.assertGreater(len(self.succeed(verb, "--help").stdout.splitlines()), 2, verb)

    def test_does_the_version_come_from_the_project(self):
        self.assertRegex(self.succeed("--version").stdout, r"^orrery \d+\.\d+\.\d+\n$")

    def test_is_a_missing_command_a_usage_error(self):
        self.assertEqual(self.run_orrery().returncode, USAGE)


class Slips(Case):
    def test_is_a_misspelt_option_answered_with_the_near_one(self):
        self.refuse(USAGE, *RUN, "--max-num-batch-tokens", "2048",
                    says=["--max-num-batch-tokens", "Did you mean --max-num-batched-tokens?"])

    def test_is_a_misspelt_command_answered_with_the_near_one(self):
        self.refuse(USAGE, "rnu", says=["'rnu'", "run"])

    def test_is_a_misspelt_model_answered_with_the_near_one(self):
        self.refuse(BAD_INPUT, "run", "-m", "llama-3.1-8bb", "-g", "h100-sxm", says=["llama-3.1-8bb", "llama-3.1-8b"])

    def test_is_a_misspelt_device_answered_with_the_near_one(self):
        self.refuse(BAD_INPUT, "run", "-m", "llama-3.1-8b", "-g", "h10-sxm", says=["h10-sxm", "h100-sxm"])

    def test_is_a_misspelt_router_answered_with_the_near_one(self):
        run = self.run_orrery(*RUN, "--replicas", "2", "--router", "least-request")
        self.assertIn(run.returncode, (USAGE, BAD_INPUT))
        self.assertRegex(run.stderr, "least.requests")

    def test_are_impossible_numbers_refused(self):
        for option, value in (("--request-rate", "nan"), ("--request-rate", "-1"), ("--request-rate", "0"),
                              ("--replicas", "0"), ("--replicas", "-2"), ("--num-prompts", "many"),
                              ("--num-prompts", "-5"), ("--random-input-len", "0"), ("--duration", "soon"),
                              ("--tensor-parallel-size", "0"), ("--gpu-memory-utilization", "1.5"),
                              ("--max-num-seqs", "0"), ("--burstiness", "nan")):
            with self.subTest(option=option, value=value):
                self.refuse(USAGE, *RUN, option, value, says=[option, value])

    def test_is_a_missing_value_a_usage_error(self):
        self.refuse(USAGE, "run", "-m", says=["-m"])

    def test_is_a_split_that_does_not_divide_the_heads_refused(self):
        run = self.run_orrery(*RUN, "--tensor-parallel-size", "3")
        self.assertIn(run.returncode, (USAGE, BAD_INPUT, INFEASIBLE))
        self.assertIn("3", run.stderr)

    def test_does_a_model_that_does_not_fit_name_a_split_that_does(self):
        self.refuse(INFEASIBLE, "run", "-m", "llama-3.1-70b", "-g", "h100-sxm", "--num-prompts", "5", "--out", "none",
                    says=["does not fit", "GiB", "hint:", "--tensor-parallel-size"])

    def test_is_an_impossible_slo_a_usage_error(self):
        run = self.run_orrery(*RUN, "--slo", "ttfft<=500ms")
        self.assertIn(run.returncode, (USAGE, BAD_INPUT))
        self.assertIn("ttft", run.stderr)


class Models(Case):
    def test_is_an_unknown_architecture_refused_by_name(self):
        self.write("config.json", '{"model_type": "novelty", "architectures": ["NoveltyForCausalLM"], '
                                  '"hidden_size": 64}')
        self.refuse(BAD_INPUT, "run", "-m", self.folder, "-g", "h100-sxm", "--num-prompts", "1",
                    says=["NoveltyForCausalLM"])

    def test_is_a_config_that_is_no_json_refused_at_its_line(self):
        self.write("config.json", '{\n  "model_type": "llama",\n  oops\n}')
        self.refuse(BAD_INPUT, "run", "-m", self.folder, "-g", "h100-sxm", "--num-prompts", "1",
                    says=["config.json:3"])

    def test_is_a_folder_without_config_refused(self):
        self.refuse(BAD_INPUT, "run", "-m", self.folder / "nothing", "-g", "h100-sxm", says=["nothing"])


if __name__ == "__main__":
    main()
