#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "base/json.hpp"
#include "command.hpp"
#include "model/model_spec.hpp"
#include "options.hpp"

namespace orrery {
namespace {

/// A deployment of the model with linear layers stored in `weight`; 4-bit weights compute in 16 bits.
LoweringContext deployed(const ModelSpec& model, DType weight, DType kv_cache, int tp) {
  LoweringContext ctx;
  ctx.shard.tp = tp;
  ctx.precision = model.native;
  ctx.precision.weight = weight;
  ctx.precision.compute = weight == DType::fp8 ? DType::fp8 : ctx.precision.activation;
  ctx.precision.kv_cache = kv_cache;
  return ctx;
}

/// The formats people deploy: the checkpoint's own first, then 16, 8 and 4 bits.
std::vector<DType> weight_formats(const ModelSpec& model) {
  std::vector<DType> formats{model.native.weight};
  for (const DType t : {model.native.activation, DType::fp8, DType::int4}) {
    if (std::find(formats.begin(), formats.end(), t) == formats.end()) formats.push_back(t);
  }
  return formats;
}

std::string attention_text(const AttentionParams& a) {
  std::string text = a.window > 0 ? fmt::format("window of {} tokens", a.window) : "full";
  if (a.qkv_bias) text += ", q k v biases";
  if (a.output_bias) text += ", output bias";
  if (a.qk_norm) text += ", q k norms";
  return text;
}

/// "32 x full", or the period that repeats, or each run of equal layers.
std::string pattern_text(const ModelSpec& model) {
  const auto& p = model.pattern;
  const auto word = [&](std::size_t i) {
    const Tokens window = model.kinds[static_cast<std::size_t>(p[i])].attention.window;
    return window > 0 ? fmt::format("window {}", window) : std::string("full");
  };
  for (std::size_t period = 1; period <= std::min<std::size_t>(p.size() / 2, 8); ++period) {
    bool repeats = p.size() % period == 0;
    for (std::size_t i = period; i < p.size() && repeats; ++i) repeats = p[i] == p[i - period];
    if (!repeats) continue;
    std::string words = word(0);
    for (std::size_t i = 1; i < period; ++i) words += ", " + word(i);
    return fmt::format("{} x {}", p.size() / period, period > 1 ? "(" + words + ")" : words);
  }
  std::string text;
  for (std::size_t first = 0, i = 0; i < p.size(); ++i) {
    if (i + 1 < p.size() && p[i + 1] == p[first]) continue;
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", i - first + 1, word(first));
    first = i + 1;
  }
  return text;
}

Json describe(const ModelSpec& m, int tp) {
  Json windows = Json::array();
  for (const KeyCap& cap : m.caps()) windows.push_back(cap.tokens);
  Json out{{"name", m.name},
           {"family", m.family},
           {"source", m.source},
           {"reference", m.reference},
           {"parameters", m.parameters()},
           {"hidden", m.hidden},
           {"vocab", m.vocab},
           {"layers", m.layers()},
           {"tied_embeddings", m.tied_embeddings},
           {"max_model_len", m.max_model_len},
           {"pattern", pattern_text(m)},
           {"windows", windows},
           {"tensor_parallel_size", tp},
           {"notes", m.notes}};
  out["native"] = {{"activation", name(m.native.activation)},
                   {"weight", name(m.native.weight)},
                   {"compute", name(m.native.compute)},
                   {"kv_cache", name(m.native.kv_cache)}};
  for (const auto& k : m.kinds) {
    out["layer_kinds"].push_back({{"count", k.count},
                                  {"heads", k.attention.heads},
                                  {"kv_heads", k.attention.kv_heads},
                                  {"head_dim", k.attention.head_dim},
                                  {"window", k.attention.window},
                                  {"ffn_width", k.ffn.width},
                                  {"gated", k.ffn.gated},
                                  {"norms", k.norms}});
  }
  for (const DType t : weight_formats(m)) {
    out["weight_bytes_per_gpu"][std::string(name(t))] = m.weight_bytes(deployed(m, t, m.native.kv_cache, tp));
  }
  for (const DType t : {m.native.activation, DType::fp8}) {
    out["kv_bytes_per_token_per_gpu"][std::string(name(t))] =
        m.kv_bytes_per_token(deployed(m, m.native.weight, t, tp));
  }
  return out;
}

void print_model(const ModelSpec& m, int tp) {
  fmt::print("{}: {:.3f} B parameters, family {}, context {}\n\n", m.name, m.parameters() * 1e-9, m.family,
             m.max_model_len);
  fmt::print("  hidden {}, vocabulary {}{}\n", m.hidden, m.vocab,
             m.tied_embeddings ? ", embeddings tied to the LM head" : "");
  fmt::print("  layers {}\n", pattern_text(m));
  for (const auto& k : m.kinds) {
    const auto& a = k.attention;
    fmt::print("    {:>3}: {} heads of {} over {} KV heads, {}; {} feed-forward of {}{}, {} norms\n", k.count,
               a.heads, a.head_dim, a.kv_heads, attention_text(a), k.ffn.gated ? "gated" : "plain",
               k.ffn.width, k.ffn.bias ? " with biases" : "", k.norms);
  }
  fmt::print("  stored as {} weights, {} arithmetic, {} KV cache\n", name(m.native.weight),
             name(m.native.compute), name(m.native.kv_cache));
  fmt::print("\n  per GPU with tensor parallel size {}:\n", tp);
  for (const DType t : weight_formats(m)) {
    fmt::print("    weights in {:<5}{:>9.2f} GiB\n", name(t),
               m.weight_bytes(deployed(m, t, m.native.kv_cache, tp)) / kGiB);
  }
  for (const DType t : {m.native.activation, DType::fp8}) {
    fmt::print("    KV in {:<10}{:>9.1f} KiB per token\n", name(t),
               m.kv_bytes_per_token(deployed(m, m.native.weight, t, tp)) / 1024);
  }
  for (const auto& note : m.notes) fmt::print("\n  note: {}\n", note);
  fmt::print("\n  read from {}\n", m.source);
  if (!m.reference.empty()) fmt::print("  published in {}\n", m.reference);
}

int list(const std::vector<std::string>& args) {
  Options options("models list",
                  "The models Orrery ships; any other is given by the path of its config.json.");
  if (!options.parse(args)) return 0;
  Json all = Json::array();
  if (!options.output().json) {
    fmt::print("{:<18}{:<9}{:>11}{:>7}{:>8}{:>8}{:>9}{:>9}{:>10}{:>11}\n", "", "", "parameters", "", "", "",
               "heads/", "", "16-bit", "KV KiB");
    fmt::print("{:<18}{:<9}{:>11}{:>7}{:>8}{:>8}{:>9}{:>9}{:>10}{:>11}\n", "model", "family", "B", "layers",
               "hidden", "ffn", "KV", "context", "GiB", "per token");
  }
  for (const auto& known : list_models()) {
    const auto m = load_model(known);
    const auto ctx = deployed(m, m.native.activation, m.native.activation, 1);
    const auto& kind = m.kinds.front();
    if (options.output().json) {
      all.push_back(describe(m, 1));
      continue;
    }
    fmt::print("{:<18}{:<9}{:>11.2f}{:>7}{:>8}{:>8}{:>9}{:>9}{:>10.2f}{:>11.0f}\n", m.name, m.family,
               m.parameters() * 1e-9, m.layers(), m.hidden, kind.ffn.width,
               fmt::format("{}/{}", kind.attention.heads, kind.attention.kv_heads), m.max_model_len,
               m.weight_bytes(ctx) / kGiB, m.kv_bytes_per_token(ctx) / 1024);
  }
  if (options.output().json) std::printf("%s\n", all.dump(2).c_str());
  return 0;
}

int print_one(Options& options, const ModelSpec& model, std::int64_t tp) {
  check_split(model, {static_cast<int>(std::min<std::int64_t>(tp, 1 << 20)), 1, 1, 1});
  if (options.output().json) {
    std::printf("%s\n", describe(model, static_cast<int>(tp)).dump(2).c_str());
  } else {
    print_model(model, static_cast<int>(tp));
  }
  return 0;
}

int show(const std::vector<std::string>& args) {
  std::string wanted;
  std::int64_t tp = 1;
  Options options("models show", "Sizes, layer pattern, weight and KV-cache bytes of one model.");
  options.group("model", "Model")
      .positional("MODEL", wanted, "name, or path of a config.json or its folder")
      .value("tensor-parallel-size,tp", tp, "N", "split over this many GPUs (1)");
  options.example("orrery models show llama-3.1-70b -tp 8");
  if (!options.parse(args)) return 0;
  return print_one(options, load_model(wanted), tp);
}

int import(const std::vector<std::string>& args) {
  std::string path;
  Options options("models import",
                  "Reads a HuggingFace config.json and says what was understood of it, or what was not.");
  options.group("model", "Model").positional("FILE", path, "a config.json, or the folder that holds it");
  options.example("orrery models import ~/checkpoints/my-llama/config.json");
  if (!options.parse(args)) return 0;
  const auto model = load_model(path);
  if (!options.output().json) fmt::print("understood; use it as --model {}\n\n", path);
  return print_one(options, model, 1);
}

int run(const std::vector<std::string>& args) {
  if (std::all_of(args.begin(), args.end(), is_output_flag)) return list(args);
  return dispatch("models", "The models Orrery knows, and reading others.",
                  {{"list", "sizes of every shipped model", list},
                   {"show", "one model: sizes, layers, weight and KV-cache bytes", show},
                   {"import", "read a config.json and say what was understood", import}},
                  args);
}

const Registration<Commands> registered{"models", "list the models, show one, or read a config.json", run};

}  // namespace
}  // namespace orrery
