#include "scenario/engine_speculation.hpp"

#include <algorithm>
#include <fstream>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/json.hpp"
#include "scenario/setting_field.hpp"

namespace orrery {

namespace {

using Given = std::map<std::string, std::string>;

constexpr std::int64_t kMostDrafted = 64;  ///< as Decoder

std::string value_of(const Given& given, const std::string& name) {
  const auto found = given.find(name);
  return found == given.end() ? std::string() : found->second;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::string config(const std::string& method, std::int64_t drafted, const std::string& model) {
  Json out{{"method", method}, {"num_speculative_tokens", drafted}};
  if (!model.empty()) out["model"] = model;
  return out.dump();
}

[[noreturn]] void refuse(const std::string& argument, const std::string& why, const std::string& hint) {
  throw ConfigError(fmt::format("--engine-args: {} {}", argument, why), hint, ExitCode::usage);
}

/// Steps of a chain: one drafted token each.
std::int64_t chain_steps(const Given& given) {
  const std::string branches = value_of(given, "eagle-topk"), steps = value_of(given, "num-steps");
  if (!branches.empty() && parse_integer(branches, 1, 1024) > 1) {
    refuse("--speculative-eagle-topk " + branches, "drafts a tree of tokens, and chains alone are modelled",
           "--speculative-eagle-topk 1: the chain of --speculative-num-steps tokens");
  }
  if (steps.empty()) {
    refuse("--speculative-num-steps", "is missing: SGLang chooses it by model, Orrery does not",
           "--speculative-num-steps 3 --speculative-eagle-topk 1 --speculative-num-draft-tokens 4");
  }
  return parse_integer(steps, 1, kMostDrafted);
}

}  // namespace

std::string sglang_speculation(const Given& given, std::vector<std::string>& warnings) {
  const std::string algorithm = lower(value_of(given, "algorithm"));
  if (algorithm.empty()) {
    if (!given.empty())
      refuse("--speculative-algorithm", "is missing", "EAGLE, EAGLE3, NEXTN, STANDALONE or NGRAM");
    return "";
  }
  const std::string model = value_of(given, "draft-model-path"),
                    verified = value_of(given, "num-draft-tokens");
  if (algorithm == "ngram") {
    // Tokens to verify count the one that is certain.
    const std::int64_t drafted = (verified.empty() ? 12 : parse_integer(verified, 2, kMostDrafted + 1)) - 1;
    warnings.emplace_back("SGLang's n-grams branch into a tree: priced as a chain of as many tokens");
    return config("ngram", drafted, "");
  }
  const std::int64_t steps = chain_steps(given);
  if (!verified.empty() && parse_integer(verified, 2, kMostDrafted + 1) != steps + 1) {
    warnings.push_back(
        fmt::format("--speculative-num-draft-tokens {}: a chain of {} steps verifies {} tokens", verified,
                    steps, steps + 1));
  }
  if (algorithm == "standalone") {
    if (model.empty())
      refuse("--speculative-draft-model-path", "is missing", "STANDALONE needs the model that drafts");
    return config("draft_model", steps, model);
  }
  // Without a draft of its own, EAGLE runs the layers for further tokens that the checkpoint brings.
  if (algorithm == "nextn" || (algorithm == "eagle" && model.empty())) return config("mtp", steps, "");
  if (algorithm == "eagle" || algorithm == "eagle3") return config(algorithm, steps, model);
  refuse("--speculative-algorithm " + value_of(given, "algorithm"), "is not modelled",
         "EAGLE, EAGLE3, NEXTN, STANDALONE or NGRAM");
}

namespace {

/// The lines of a YAML mapping's key, indented below it, as key and value; and the other keys of the top
/// level.
struct YamlBlock {
  Given block;
  std::vector<std::string> others;
};

std::string trimmed(std::string text) {
  if (const auto comment = text.find(" #"); comment != std::string::npos) text.erase(comment);
  const auto first = text.find_first_not_of(" \t\r\"'"), last = text.find_last_not_of(" \t\r\"'");
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

YamlBlock read_yaml(const std::string& path, const std::string& wanted) {
  std::ifstream in(path);
  if (!in) throw ConfigError(fmt::format("cannot read '{}'", path)).at(path);
  YamlBlock out;
  bool inside = false;
  for (std::string line; std::getline(in, line);) {
    const auto colon = line.find(':');
    if (trimmed(line).empty() || trimmed(line)[0] == '#' || colon == std::string::npos) continue;
    const std::string key = trimmed(line.substr(0, colon)), value = trimmed(line.substr(colon + 1));
    const bool top = line[0] != ' ' && line[0] != '\t';
    if (top) inside = key == wanted;
    if (top && !inside) out.others.push_back(key);
    if (!top && inside) out.block[key] = value;
  }
  return out;
}

}  // namespace

std::string trtllm_speculation(const std::string& path, std::vector<std::string>& warnings) {
  const YamlBlock file = read_yaml(path, "speculative_config");
  if (!file.others.empty()) {
    warnings.push_back(
        fmt::format("{}: only speculative_config is read, not {}", path, fmt::join(file.others, ", ")));
  }
  if (file.block.empty()) return "";
  const std::string type = lower(value_of(file.block, "decoding_type"));
  std::string model = value_of(file.block, "speculative_model_dir");
  if (model.empty()) model = value_of(file.block, "speculative_model");
  const bool mtp = type == "mtp";
  const std::string key = mtp ? "num_nextn_predict_layers" : "max_draft_len";
  const std::string drafted = value_of(file.block, key);
  constexpr std::pair<const char*, const char*> kTypes[] = {{"mtp", "mtp"},
                                                            {"eagle", "eagle"},
                                                            {"eagle3", "eagle3"},
                                                            {"ngram", "ngram"},
                                                            {"drafttarget", "draft_model"},
                                                            {"draft_target", "draft_model"}};
  const auto* found =
      std::find_if(std::begin(kTypes), std::end(kTypes), [&](const auto& t) { return t.first == type; });
  if (found == std::end(kTypes)) {
    throw ConfigError(fmt::format("speculative_config.decoding_type '{}' is not modelled",
                                  value_of(file.block, "decoding_type")),
                      "MTP, Eagle, Eagle3, DraftTarget or NGram")
        .at(path);
  }
  if (drafted.empty()) throw ConfigError(fmt::format("speculative_config.{} is missing", key)).at(path);
  return config(found->second, parse_integer(drafted, 1, kMostDrafted), mtp ? "" : model);
}

}  // namespace orrery
