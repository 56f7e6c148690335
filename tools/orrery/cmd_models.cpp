#include <algorithm>
#include <cstdio>
#include <optional>

#include <fmt/format.h>

#include "base/json.hpp"
#include "command.hpp"
#include "model/block_reader.hpp"
#include "model/model_spec.hpp"
#include "model_text.hpp"
#include "options.hpp"

namespace orrery {
namespace {

/// A deployment of the model with linear layers as the checkpoint stores them, or all of them in `weight`;
/// 4-bit weights compute in 16 bits.
LoweringContext deployed(const ModelSpec& model, std::optional<DType> weight, DType kv_cache, int tp) {
  LoweringContext ctx;
  ctx.shard.tp = tp;
  ctx.precision = model.native;
  if (weight) {
    LinearFormat format;
    format.weight = *weight;
    format.compute = *weight == DType::fp8 ? DType::fp8 : ctx.precision.activation;
    ctx.precision.set_linear(format);
  }
  ctx.precision.kv_cache = kv_cache;
  return ctx;
}

/// The formats people deploy: 16, 8 and 4 bits.
std::vector<DType> weight_formats(const ModelSpec& model) {
  return {model.native.activation, DType::fp8, DType::int4};
}

/// What one sequence of the longest context keeps beyond what grows with every token: full windows and
/// states.
double fixed_bytes(const ModelSpec& m, const LoweringContext& ctx) {
  return m.sequence_bytes(m.max_model_len, ctx) -
         m.kv_bytes_per_token(ctx) * static_cast<double>(m.max_model_len);
}

Json describe_kind(const LayerKind& k, const std::string& word) {
  Json out{{"word", word}, {"count", k.count}, {"text", layer_text(k)}};
  for (const auto& mixer : k.mixers) {
    static const char* const names[] = {"attention", "latent", "state"};
    out["mixers"].push_back(
        {{names[mixer.index()], std::visit([](const auto& m) { return describe_block(m); }, mixer)}});
  }
  if (const auto* dense = dense_of(k)) out["ffn"]["dense"] = describe_block(*dense);
  if (const auto* moe = std::get_if<MoeParams>(&k.ffn)) out["ffn"]["moe"] = describe_block(*moe);
  return out;
}

Json describe(const ModelSpec& m, int tp) {
  const auto ctx = deployed(m, std::nullopt, m.native.kv_cache, tp);
  Json out{{"name", m.name},
           {"family", m.family},
           {"source", m.source},
           {"reference", m.reference},
           {"parameters", m.parameters()},
           {"active_parameters", m.active_parameters()},
           {"hidden", m.hidden},
           {"vocab", m.vocab},
           {"layers", m.layers()},
           {"tied_embeddings", m.tied_embeddings},
           {"max_model_len", m.max_model_len},
           {"mtp_layers", m.mtp_layers},
           {"pattern", pattern_rows(m)},
           {"tensor_parallel_size", tp},
           {"fixed_bytes_per_sequence_per_gpu", fixed_bytes(m, ctx)},
           {"notes", m.notes}};
  out["native"] = {{"activation", name(m.native.activation)},
                   {"weight", name(m.native.weight)},
                   {"compute", name(m.native.compute)},
                   {"kv_cache", name(m.native.kv_cache)}};
  if (m.encoder) out["encoder"] = describe_block(*m.encoder);
  const auto words = layer_words(m);
  for (std::size_t i = 0; i < m.kinds.size(); ++i) {
    out["layer_kinds"].push_back(describe_kind(m.kinds[i], words[i]));
  }
  out["weight_bytes_per_gpu"]["stored"] = m.weight_bytes(ctx);
  for (const DType t : weight_formats(m)) {
    out["weight_bytes_per_gpu"][std::string(name(t))] = m.weight_bytes(deployed(m, t, m.native.kv_cache, tp));
  }
  for (const DType t : {m.native.activation, DType::fp8}) {
    out["kv_bytes_per_token_per_gpu"][std::string(name(t))] =
        m.kv_bytes_per_token(deployed(m, std::nullopt, t, tp));
  }
  return out;
}

void print_layers(const ModelSpec& m) {
  const char* title = "layers";
  for (const auto& row : pattern_rows(m)) {
    fmt::print("  {:<7}{:>{}}{}\n", title, row.substr(0, row.find(' ')), 4, row.substr(row.find(' ')));
    title = "";
  }
  const auto words = layer_words(m);
  for (std::size_t i = 0; i < m.kinds.size(); ++i) {
    fmt::print("  {:>7}{:>4}: {}\n", words[i], m.kinds[i].count, layer_text(m.kinds[i]));
  }
  if (m.encoder) {
    fmt::print("  images {}; {:.3f} B parameters\n", encoder_text(*m.encoder),
               m.encoder->parameters() * 1e-9);
  }
  if (m.mtp_layers > 0) {
    fmt::print("  {} further layer{} predict{} more tokens, counted apart\n", m.mtp_layers,
               m.mtp_layers == 1 ? "" : "s", m.mtp_layers == 1 ? "s" : "");
  }
}

void print_model(const ModelSpec& m, int tp) {
  const double total = m.parameters(), active = m.active_parameters();
  fmt::print("{}: {:.3f} B parameters ({:.3f} B multiplied per token), family {}, context {}\n\n", m.name,
             total * 1e-9, active * 1e-9, m.family, m.max_model_len);
  fmt::print("  hidden {}, vocabulary {}{}\n", m.hidden, m.vocab,
             m.tied_embeddings ? ", embeddings tied to the LM head" : "");
  print_layers(m);
  fmt::print("  stored as {} weights, {} arithmetic, {} KV cache\n", name(m.native.weight),
             name(m.native.compute), name(m.native.kv_cache));
  fmt::print("\n  per GPU with tensor parallel size {}:\n", tp);
  const double stored = m.weight_bytes(deployed(m, std::nullopt, m.native.kv_cache, tp));
  fmt::print("    weights as stored{:>9.2f} GiB\n", stored / kGiB);
  for (const DType t : weight_formats(m)) {
    fmt::print("    weights in {:<6}{:>9.2f} GiB\n", name(t),
               m.weight_bytes(deployed(m, t, m.native.kv_cache, tp)) / kGiB);
  }
  for (const DType t : {m.native.activation, DType::fp8}) {
    const auto ctx = deployed(m, std::nullopt, t, tp);
    fmt::print("    KV in {:<11}{:>9.1f} KiB per token", name(t), m.kv_bytes_per_token(ctx) / 1024);
    const double fixed = fixed_bytes(m, ctx);
    fmt::print("{}\n", fixed > 0 ? fmt::format(", and {:.1f} MiB per sequence for windows and states",
                                               fixed / (1 << 20))
                                 : "");
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
    fmt::print("{:<27}{:<18}{:>8}{:>8}{:>7}{:>9}{:>9}{:>10}{:>10}\n", "", "", "total", "active", "", "",
               "16-bit", "KV KiB", "fixed MiB");
    fmt::print("{:<27}{:<18}{:>8}{:>8}{:>7}{:>9}{:>9}{:>10}{:>10}\n", "model", "family", "B", "B", "layers",
               "context", "GiB", "per token", "per seq.");
  }
  for (const auto& known : list_models()) {
    const auto m = load_model(known);
    if (options.output().json) {
      all.push_back(describe(m, 1));
      continue;
    }
    const auto ctx = deployed(m, m.native.activation, m.native.activation, 1);
    const double kv = m.kv_bytes_per_token(ctx) / 1024, fixed = fixed_bytes(m, ctx) / (1 << 20);
    fmt::print("{:<27}{:<18}{:>8.2f}{:>8.2f}{:>7}{:>9}{:>9.1f}{:>10}{:>10}\n", m.name, m.family,
               m.parameters() * 1e-9, m.active_parameters() * 1e-9, m.layers(), m.max_model_len,
               m.weight_bytes(ctx) / kGiB, kv > 0 ? fmt::format("{:.1f}", kv) : "-",
               fixed > 0 ? fmt::format("{:.1f}", fixed) : "-");
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
