#include "scenario/speculation.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.hpp"
#include "cost/step_kernels.hpp"
#include "scenario/precision.hpp"

namespace orrery {

namespace {

/// Chances from published counts of tokens a step: the alpha whose (1 - alpha^(gamma+1)) / (1 - alpha) they
/// are.
constexpr AssumedAcceptance kAssumed[] = {
    {DraftMethod::ngram, 0.42,
     "Spec-Bench, Vicuna-7B on A100, mean of six tasks: prompt lookup of 10 tokens brings 1.73 a step"},
    {DraftMethod::draft_model, 0.57,
     "Spec-Bench, Vicuna-7B on A100, mean of six tasks: a 68M draft of 5 tokens brings 2.28 a step"},
    {DraftMethod::eagle, 0.73, "taken as EAGLE-3's"},
    {DraftMethod::eagle3, 0.73,
     "InferenceX golden acceptance lengths, Kimi-K2.5 with EAGLE-3 on SPEED-Bench coding: 3.46 at 5 tokens"},
    {DraftMethod::mtp, 0.85,
     "DeepSeek-V3 technical report (2024), section 5.4.3: the second token is accepted in 85 to 90% of "
     "cases"},
};

/// 1.9 s in all for 5,000 requests of ShareGPT, which answer with some 200 tokens each. Below the true figure
/// by as much as steps are fewer than tokens; it grows with the context.
constexpr Seconds kNgramLookup{1.9e-6};
constexpr std::string_view kNgramLookupSource =
    "derived from vLLM pull request 13365 (compiled look-up, one thread)";

constexpr int kEagleInputs = 2;  ///< embedding and hidden state

DraftMethod read_method(const JsonView& view, std::string word, bool has_model) {
  if (word.empty() && has_model) return DraftMethod::draft_model;
  if (word.ends_with("_mtp")) word = "mtp";
  const auto names = enum_names(DraftMethod{});
  for (std::size_t i = 1; i < names.size(); ++i) {
    if (names[i] == word) return static_cast<DraftMethod>(i);
  }
  view.fail("method", word.empty() ? "is missing" : "is '" + word + "'",
            "ngram, draft_model, eagle, eagle3 or mtp (chain speculation)");
}

std::vector<double> read_acceptance(JsonView& view) {
  const Json& value = view.raw("acceptance");
  if (value.is_number()) return {value.get<double>()};
  return view.numbers("acceptance");
}

/// The part of the target that drafts for itself, as a model of its own: embedding, one more layer like its
/// last, LM head.
ModelSpec one_layer_of(const ModelSpec& target, int layers = 1) {
  ModelSpec m = target;
  m.kinds = {target.kinds[static_cast<std::size_t>(target.pattern.back())]};
  m.kinds.front().count = layers;
  m.pattern.assign(static_cast<std::size_t>(layers), 0);
  m.name = target.name + " (one layer)";
  return m;
}

/// A draft model of its own: all its weights and its own formats.
void take_draft_model(const Scenario& s, const ModelSpec& target, const LoweringContext& ctx,
                      const DeviceProfile& device, std::vector<std::string>& warnings, Speculation& out) {
  const std::string& name = out.decoder.params().model;
  if (name.empty()) {
    throw ConfigError("speculative_config: model is missing",
                      "method draft_model needs the model that drafts");
  }
  const ModelSpec draft = load_model(name);
  check_split(draft, ctx.shard);
  if (draft.vocab != target.vocab) {
    warnings.push_back(
        fmt::format("the draft model {} has {} tokens in its vocabulary, {} has {}: engines want them "
                    "equal",
                    draft.name, draft.vocab, target.name, target.vocab));
  }
  Scenario own = s;
  own.quantization = "auto";
  LoweringContext draft_ctx = ctx;
  draft_ctx.precision = choose_precision(own, draft, device, warnings);
  draft_ctx.precision.kv_cache = ctx.precision.kv_cache;
  out.draft_weight_bytes = draft.weight_bytes(draft_ctx);
  out.draft_kv_bytes_per_token = draft.kv_bytes_per_token(draft_ctx);
  out.drafting.precision = draft_ctx.precision;
  out.drafting.model = draft;
}

/// A layer beside the target that shares its embeddings and LM head.
void take_layer(const ModelSpec& target, const LoweringContext& ctx, Speculation& out) {
  const ModelSpec layer = one_layer_of(target);
  out.drafting.joined_inputs = kEagleInputs;
  out.draft_weight_bytes = one_layer_of(target, 2).weight_bytes(ctx) - layer.weight_bytes(ctx) +
                           joining_projection(target, kEagleInputs)->weight_bytes(ctx);
  out.draft_kv_bytes_per_token = layer.kv_bytes_per_token(ctx);
  out.drafting.model = layer;
}

}  // namespace

const AssumedAcceptance& assumed_acceptance(DraftMethod method) {
  const auto* found = std::find_if(std::begin(kAssumed), std::end(kAssumed),
                                   [&](const auto& a) { return a.method == method; });
  ORRERY_CHECK(found != std::end(kAssumed), "a draft method without an assumed acceptance");
  return *found;
}

SpeculativeConfig parse_speculative_config(std::string_view json) {
  JsonView view(JsonDocument::parse(std::string(json), "speculative_config"));
  SpeculativeConfig out;
  DecoderParams& p = out.decoder;
  p.model = view.text_or("model", "");
  p.method = read_method(view, view.text_or("method", ""), !p.model.empty());
  // A checkpoint's one MTP layer drafts one token unless told otherwise (vLLM: n_predict).
  p.num_speculative_tokens =
      static_cast<int>(p.method == DraftMethod::mtp ? view.integer_or("num_speculative_tokens", 1)
                                                    : view.integer("num_speculative_tokens"));
  out.acceptance_given = view.has("acceptance");
  p.acceptance =
      out.acceptance_given ? read_acceptance(view) : std::vector{assumed_acceptance(p.method).value};
  p.sampled = view.boolean_or("sampled", false);
  for (const char* key : {"prompt_lookup_max", "prompt_lookup_min", "draft_sample_method"}) view.ignore(key);
  for (const char* key : {"draft_tensor_parallel_size", "quantization", "max_model_len", "enforce_eager",
                          "disable_padded_drafter_batch", "speculative_token_tree", "parallel_drafting"}) {
    if (view.has(key)) out.warnings.push_back(fmt::format("speculative_config: {} is not modelled", key));
  }
  view.finish();
  Decoder checked(p);
  return out;
}

Speculation choose_speculation(const Scenario& s, const ModelSpec& target, const LoweringContext& ctx,
                               const DeviceProfile& device, std::vector<std::string>& warnings) {
  Speculation out;
  if (s.speculative_config.empty()) return out;
  const SpeculativeConfig config = parse_speculative_config(s.speculative_config);
  warnings.insert(warnings.end(), config.warnings.begin(), config.warnings.end());
  out.decoder = Decoder(config.decoder);
  if (out.decoder.plain()) return out;
  const DraftMethod method = config.decoder.method;
  out.drafting.queries = out.decoder.queries();
  out.drafting.pace_steps = out.decoder.pace().steps;
  if (config.acceptance_given) {
    out.acceptance_source = "given";
  } else {
    const auto& assumed = assumed_acceptance(method);
    out.acceptance_source = fmt::format("assumed: {}", assumed.source);
    warnings.push_back(fmt::format("acceptance of drafted tokens is assumed ({:g}: {}); give \"acceptance\"",
                                   assumed.value, assumed.source));
  }
  if (method == DraftMethod::ngram) {
    out.host_per_sequence = kNgramLookup;
    warnings.push_back(
        fmt::format("the host's look-up of n-grams is taken as {:g} us per sequence and step: {}",
                    kNgramLookup.value * 1e6, kNgramLookupSource));
    return out;
  }
  if (method == DraftMethod::mtp && target.mtp_layers == 0) {
    throw ConfigError(
        fmt::format("speculative_config: method is mtp, and {} has no multi-token-prediction layers",
                    target.name),
        "ngram, draft_model, eagle or eagle3");
  }
  out.drafting.passes = config.decoder.num_speculative_tokens;
  if (method == DraftMethod::draft_model) {
    take_draft_model(s, target, ctx, device, warnings, out);
  } else {
    take_layer(target, ctx, out);
  }
  return out;
}

double draft_share(const TimeShares& shares) {
  double all = shares.host;
  for (const double seconds : shares.by_provenance) all += seconds;
  return all > 0 ? shares.draft / all : 0;
}

OrderedJson to_json(const Speculation& s, double draft_share) {
  const DecoderParams& p = s.decoder.params();
  OrderedJson kept = OrderedJson::array();
  for (int i = 1; i <= p.num_speculative_tokens; ++i) kept.push_back(s.decoder.kept(i));
  return {{"method", std::string(enum_names(p.method)[static_cast<std::size_t>(p.method)])},
          {"num_speculative_tokens", p.num_speculative_tokens},
          {"acceptance", std::move(kept)},
          {"acceptance_source", s.acceptance_source},
          {"tokens_per_step", s.decoder.tokens_per_step()},
          {"sampled", p.sampled},
          {"draft_share", draft_share}};
}

std::string describe(const Speculation& s) {
  const DecoderParams& p = s.decoder.params();
  std::string kept;
  for (int i = 1; i <= p.num_speculative_tokens; ++i)
    kept += fmt::format("{}{:.2f}", i > 1 ? " " : "", s.decoder.kept(i));
  return fmt::format("{}, {} drafted a step, kept {} ({}): {:.3f} tokens a step{}",
                     enum_names(p.method)[static_cast<std::size_t>(p.method)], p.num_speculative_tokens, kept,
                     s.acceptance_source, s.decoder.tokens_per_step(), p.sampled ? ", sampled" : "");
}

}  // namespace orrery
