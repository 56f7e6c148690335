#include "model_text.hpp"

#include <algorithm>
#include <map>
#include <variant>

#include <fmt/format.h>

namespace orrery {
namespace {

std::string text_of(const AttentionParams& a) {
  std::string text = fmt::format("{} heads of {} over {} KV heads, {}", a.heads, a.head_dim, a.kv_heads,
                                 a.pattern.describe());
  if (a.value_dim > 0 && a.value_dim != a.head_dim) text += fmt::format(", values of {}", a.value_dim);
  if (!a.owns_kv) text += ", another layer's keys and values";
  if (a.gate) text += ", gated";
  if (a.sinks) text += ", sinks";
  if (a.qkv_bias) text += ", q k v biases";
  if (a.output_bias) text += ", output bias";
  if (a.qk_norm || a.qk_norm_whole) text += ", q k norms";
  if (!a.rope) text += ", no rotary embedding";
  return text;
}

std::string text_of(const LatentParams& l) {
  return fmt::format("{} heads from a latent of {} + {} per token, {}", l.sizes.heads, l.sizes.latent,
                     l.sizes.rope, l.pattern.describe());
}

std::string text_of(const StateParams& s) {
  std::string text(enum_names(s.rule)[static_cast<std::size_t>(s.rule)]);
  std::replace(text.begin(), text.end(), '_', ' ');
  if (s.heads > 0) {
    text += fmt::format(", {} heads of {} x {}", s.heads, s.feature_dim(),
                        s.value_dim > 0 ? s.value_dim : s.key_dim);
  } else {
    text += fmt::format(", {} channels", s.channels);
    if (s.state > 0) text += fmt::format(" of {}", s.state);
  }
  if (s.conv.width > 0) text += fmt::format(", convolution of {}", s.conv.width);
  return text;
}

std::string text_of(std::monostate) {
  return "";
}

std::string text_of(const DenseParams& d) {
  return fmt::format("{} feed-forward of {}{}", d.gated ? "gated" : "plain", d.width,
                     d.bias ? " with biases" : "");
}

std::string text_of(const MoeParams& m) {
  std::string text = fmt::format("{} of {} experts of {}", m.active, m.experts, m.width);
  if (m.latent > 0) text += fmt::format(" in a space of {}", m.latent);
  if (m.shared_experts > 0) text += fmt::format(", {} shared of {}", m.shared_experts, m.shared_width);
  return text;
}

char letter(const Mixer& mixer) {
  if (std::holds_alternative<LatentParams>(mixer)) return 'L';
  if (const auto* a = std::get_if<AttentionParams>(&mixer)) {
    if (a->pattern.select || a->pattern.summaries) return 'S';
    return a->pattern.window > 0 || a->pattern.block > 0 ? 'W' : 'A';
  }
  switch (std::get<StateParams>(mixer).rule) {
    case StateRule::selective_scan:
    case StateRule::ssd:
    case StateRule::lti:
      return 'M';
    case StateRule::delta:
    case StateRule::gated_delta:
    case StateRule::channel_gated_delta:
      return 'D';
    case StateRule::additive:
    case StateRule::scalar_decay:
    case StateRule::vector_gate:
    case StateRule::slots:
      return 'G';
    case StateRule::convolution:
      return 'C';
    default:
      return 'R';
  }
}

std::string word_of(const LayerKind& kind) {
  const bool experts = std::holds_alternative<MoeParams>(kind.ffn);
  if (kind.mixers.empty()) return experts ? "E" : "F";
  std::string word;
  for (const auto& mixer : kind.mixers) word += letter(mixer);
  return experts ? word + "*" : word;
}

/// A stretch of layers that is `period` long and comes `times` times.
struct Stretch {
  std::size_t period = 1, times = 1;
  std::size_t layers() const { return period * times; }
};

/// The repetition that begins at `at` and covers most; the shortest period of those.
Stretch longest_repetition(const std::vector<int>& layers, std::size_t at) {
  constexpr std::size_t longest_period = 16;
  Stretch best;
  for (std::size_t period = 1; period <= std::min(longest_period, (layers.size() - at) / 2); ++period) {
    std::size_t end = at + period;
    while (end < layers.size() && layers[end] == layers[end - period]) ++end;
    const Stretch found{period, (end - at) / period};
    if (found.times > 1 && found.layers() >= 3 && found.layers() > best.layers()) best = found;
  }
  return best;
}

}  // namespace

std::string layer_text(const LayerKind& kind) {
  std::string text;
  for (const auto& mixer : kind.mixers) {
    if (!text.empty()) text += " beside ";
    text += std::visit([](const auto& m) { return text_of(m); }, mixer);
  }
  const std::string ffn = std::visit([](const auto& f) { return text_of(f); }, kind.ffn);
  if (!ffn.empty()) text += (text.empty() ? "" : "; ") + ffn;
  if (kind.copies > 0 && kind.copies < kind.count) {
    text += fmt::format("; {} set{} of weights for all", kind.copies, kind.copies == 1 ? "" : "s");
  }
  return text;
}

std::string encoder_text(const EncoderParams& e) {
  std::string text = fmt::format("{} layers of {}, ", e.layers, e.hidden);
  text += e.attention ? fmt::format("{} heads", e.attention->heads) : text_of(*e.state);
  text += fmt::format(", patches of {} pixels", e.patch);
  if (e.merge > 1) text += fmt::format(" merged {} x {}", e.merge, e.merge);
  if (e.image > 0) text += fmt::format(", {} tokens per image", e.tokens({}));
  return text;
}

std::vector<std::string> layer_words(const ModelSpec& model) {
  std::map<std::string, int> sharing, given;
  for (const auto& kind : model.kinds) ++sharing[word_of(kind)];
  std::vector<std::string> words;
  for (const auto& kind : model.kinds) {
    const std::string word = word_of(kind);
    words.push_back(sharing[word] > 1 ? fmt::format("{}{}", word, ++given[word]) : word);
  }
  return words;
}

std::vector<std::string> pattern_rows(const ModelSpec& model) {
  constexpr std::size_t per_row = 16;
  const auto words = layer_words(model);
  const auto& layers = model.pattern;
  std::vector<std::string> rows;
  std::string once;
  std::size_t in_row = 0;
  const auto word = [&](std::size_t i) { return words[static_cast<std::size_t>(layers[i])]; };
  const auto flush = [&] {
    if (!once.empty()) rows.push_back("1 x " + once);
    once.clear();
    in_row = 0;
  };
  for (std::size_t at = 0; at < layers.size();) {
    const Stretch stretch = longest_repetition(layers, at);
    if (stretch.times == 1) {
      once += " " + word(at++);
      if (++in_row == per_row) flush();
      continue;
    }
    flush();
    std::string row = fmt::format("{} x ", stretch.times);
    for (std::size_t i = at; i < at + stretch.period; ++i) row += " " + word(i);
    rows.push_back(row);
    at += stretch.layers();
  }
  flush();
  return rows;
}

}  // namespace orrery
