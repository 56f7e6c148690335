#include "options.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "option_words.hpp"

using namespace orrery;

namespace {

/// A verb with one option of each kind.
struct Verb {
  std::string model, file, slo;
  std::int64_t seqs = 0;
  std::int32_t tp = 1;
  std::optional<double> rate;
  std::optional<bool> caching;
  Seconds window{0};
  bool sort = false;
  std::vector<std::string> many, rest;
  Options options{"verb", "A verb."};

  Verb() {
    options.positional("FILE", file, "a file", false)
        .positionals("MORE", rest, "more files")
        .group("model", "Model")
        .value("model,m", model, "MODEL", "a model")
        .value("tensor-parallel-size,tp", tp, "N", "GPUs")
        .group("engine", "Engine")
        .value("max-num-batched-tokens", seqs, "N", "tokens in a step")
        .toggle("enable-prefix-caching", caching, "cache")
        .value("rate", rate, "R", "rate")
        .value("window", window, "TIME", "time")
        .value("slo", slo, "SLO", "promise")
        .value("many", many, "X", "repeatable")
        .flag("sort", sort, "sort");
  }
  std::string refusal(std::vector<std::string> args) {
    try {
      (void)options.parse(args);
    } catch (const ConfigError& e) {
      CHECK(e.code() == ExitCode::usage);
      return std::string(e.what()) + " | " + e.hint();
    }
    return "accepted";
  }
};

}  // namespace

TEST_CASE("are long, short and two-letter options understood, with '=' and without?") {
  Verb v;
  REQUIRE(
      v.options.parse({"-m", "x", "-tp", "4", "--max-num-batched-tokens=8K", "--window", "500ms", "in.csv",
                       "--sort", "--many", "a", "--many=b", "--slo=ttft<=5ms", "second", "third"}));
  CHECK(v.model == "x");
  CHECK(v.tp == 4);
  CHECK(v.seqs == 8192);
  CHECK(v.window.value == 0.5);
  CHECK(v.sort);
  CHECK(v.file == "in.csv");
  CHECK(v.rest == std::vector<std::string>{"second", "third"});
  CHECK(v.many == std::vector<std::string>{"a", "b"});
  CHECK(v.slo == "ttft<=5ms");
  CHECK(v.options.given("tensor-parallel-size"));
  CHECK_FALSE(v.options.given("rate"));
  CHECK_FALSE(v.rate.has_value());

  Verb w;
  REQUIRE(w.options.parse({"--max_num_batched_tokens", "7", "-tp=2"}));  // vLLM takes underscores too
  CHECK(w.seqs == 7);
  CHECK(w.tp == 2);
}

TEST_CASE("does a switch leave the argument after it alone?") {
  Verb v;
  REQUIRE(v.options.parse({"--sort", "in.csv", "--quiet", "second"}));
  CHECK(v.sort);
  CHECK(v.file == "in.csv");
  CHECK(v.rest == std::vector<std::string>{"second"});
}

TEST_CASE("does a toggle have a negative, as vLLM's have?") {
  const auto parsed = [](const std::string& word) {
    Verb v;
    REQUIRE(v.options.parse({word}));
    return v.caching;
  };
  CHECK(parsed("--enable-prefix-caching") == true);
  CHECK(parsed("--no-enable-prefix-caching") == false);
  CHECK(parsed("--enable-prefix-caching=false") == false);
  CHECK(parsed("--no-enable-prefix-caching=false") == true);
  CHECK(parsed("--sort") == std::nullopt);
}

TEST_CASE("is a mistyped option answered with the near one and its help group?") {
  CHECK(Verb().refusal({"--max-num-batch-tokens", "3"}) ==
        "unknown option '--max-num-batch-tokens'. Did you mean --max-num-batched-tokens? | "
        "see: orrery verb --help engine");
  CHECK_THAT(Verb().refusal({"--xyzzy-plugh"}), Catch::Contains("unknown option '--xyzzy-plugh'"));
  CHECK_THAT(Verb().refusal({"--max-num"}), Catch::Contains("unknown option"));  // no guessing from a prefix
}

TEST_CASE("is a bad value said with its option, and a missing one too?") {
  CHECK_THAT(Verb().refusal({"-tp", "two"}), Catch::StartsWith("--tensor-parallel-size: expected"));
  CHECK_THAT(Verb().refusal({"--rate", "nan"}), Catch::Contains("expected a number"));
  CHECK_THAT(Verb().refusal({"--window", "5 parsecs"}), Catch::Contains("expected a duration"));
  CHECK_THAT(Verb().refusal({"--model"}), Catch::Contains("--model needs a value"));
  CHECK_THAT(Verb().refusal({"--tensor-parallel-size", "9999999999"}), Catch::Contains("at most"));
  Options strict("strict", "One file.");
  std::string file;
  strict.positional("FILE", file, "a file");
  CHECK_THROWS_WITH(strict.parse({}), Catch::Contains("missing FILE"));
  CHECK_THROWS_WITH(strict.parse({"a", "b"}), Catch::Contains("unexpected argument 'b'"));
}

TEST_CASE("does help show everything, or the one group that was asked for?") {
  Verb v;
  const auto all = v.options.help();
  CHECK_THAT(all, Catch::Contains("-m, --model MODEL") && Catch::Contains("-tp,--tensor-parallel-size N") &&
                      Catch::Contains("--[no-]enable-prefix-caching") && Catch::Contains("Output"));
  const auto engine = v.options.help("engine");
  CHECK_THAT(engine, Catch::Contains("--rate R") && !Catch::Contains("--model"));
  CHECK_THROWS_WITH(v.options.help("engin"), Catch::Contains("engin"));
}

TEST_CASE("are the flags of every verb known to every verb?") {
  Verb v;
  REQUIRE(v.options.parse({"--json", "-q", "--no-progress", "--color=always"}));
  CHECK(v.options.output().json);
  CHECK(v.options.output().quiet);
  CHECK(v.options.output().color_stdout());
  CHECK_FALSE(v.options.output().progress());
  CHECK_THAT(Verb().refusal({"--color", "pink"}), Catch::Contains("pink"));
}

TEST_CASE("which words ask for help?") {
  using Words = std::vector<std::string>;
  CHECK(help_asked(Words{"--help"}) == "");
  CHECK(help_asked(Words{"-x", "--help", "engine"}) == "engine");
  CHECK(help_asked(Words{"-h", "-x"}) == "");
  CHECK(help_asked(Words{"--help=run"}) == "run");
  CHECK_FALSE(help_asked(Words{"--", "--help"}));
  CHECK_FALSE(help_asked(Words{"help"}));
}

TEST_CASE("is a verb within a verb found by its name, whatever flags stand before it?") {
  static std::vector<std::string> seen;
  const std::vector<Subcommand> commands{{"stats", "count", [](const std::vector<std::string>& args) {
                                            seen = args;
                                            return 7;
                                          }}};
  CHECK(dispatch("trace", "Traces.", commands, {"--json", "stats", "f.csv"}) == 7);
  CHECK(seen == std::vector<std::string>{"--json", "f.csv"});
  CHECK_THROWS_WITH(dispatch("trace", "Traces.", commands, {"stat"}), Catch::Contains("orrery trace stat"));
}
