#include "model/encoder.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include <fmt/format.h>

#include "base/error.hpp"
#include "model/lower_blocks.hpp"
#include "ops/elementwise.hpp"
#include "ops/linear.hpp"
#include "ops/other_parameters.hpp"

namespace orrery {
namespace {

/// An operator of the encoder: how often it runs, how many sets of weights it has, and on what.
struct Part {
  OperatorPtr op;
  double launches = 1, copies = 1;
  bool on_tokens = false;  ///< of the language model, else on the encoder's positions
};
using Parts = std::vector<Part>;

OperatorPtr matrix(const char* role, std::int64_t in, std::int64_t out, bool bias) {
  return std::make_shared<Linear>(role, std::vector{UnitGroup{in, 1}}, std::vector{UnitGroup{out, 1}},
                                  TensorSplit::columns, bias);
}

std::vector<KeyCap> caps_of(const Mixer& mixer) {
  std::vector<KeyCap> caps;
  for (const KeyTerm& term : decode_terms(mixer)) {
    if (term.cap.tokens > 0) caps.push_back(term.cap);
  }
  std::sort(caps.begin(), caps.end());
  return caps;
}

/// `count` equal layers. Scans (what prompts run through) are repeated for each direction.
void add_layers(const EncoderParams& p, const Mixer& mixer, std::int64_t count, Parts& out) {
  if (count == 0) return;
  const auto layers = static_cast<double>(count);
  const auto norm = [&](const char* role) {
    out.push_back({std::make_shared<RmsNorm>(role, p.hidden, true, true), layers, layers, false});
    if (p.norms.layer_norm)
      out.push_back({std::make_shared<OtherParameters>(p.hidden), layers, layers, false});
  };
  for (int i = 0; i < p.norms.before; ++i) norm("input_norm");
  for (auto& [op, scaling] : mixer_operators(mixer, p.hidden, caps_of(mixer))) {
    if (scaling == KernelClass::Scaling::decode) continue;
    const double scans = scaling == KernelClass::Scaling::prefill ? static_cast<double>(p.directions) : 1;
    out.push_back({op, layers * scans, layers, false});
  }
  if (!p.dense && !p.moe) return;
  for (int i = 0; i < p.norms.before; ++i) norm("post_norm");
  const Ffn ffn = p.moe ? Ffn(*p.moe) : Ffn(*p.dense);
  for (auto& [op, scaling] : ffn_operators(ffn, p.hidden)) out.push_back({op, layers, layers, false});
}

Parts parts_of(const EncoderParams& p) {
  Parts out;
  const std::int64_t height = p.patch_height > 0 ? p.patch_height : p.patch;
  out.push_back(
      {matrix("patch_embedding", p.patch * height * p.channels * p.frames, p.hidden, p.patch_bias)});
  if (p.attention) {
    AttentionPattern everything;
    everything.causal = false;
    AttentionParams whole = *p.attention;
    whole.pattern = everything;
    const std::int64_t full = p.attention->pattern == everything ? p.layers : p.full_layers;
    add_layers(p, whole, full, out);
    add_layers(p, *p.attention, p.layers - full, out);
  } else if (p.state) {
    add_layers(p, *p.state, p.layers, out);
  }
  for (const auto& m : p.projector) {
    const auto copies = static_cast<double>(m.copies);
    out.push_back({matrix("projector", m.in, m.out, m.bias), copies, copies, true});
  }
  out.push_back({std::make_shared<OtherParameters>(p.other_parameters)});
  return out;
}

/// Encoders are kept in the format of the activations.
LoweringContext unquantised(LoweringContext ctx) {
  ctx.precision.weight = ctx.precision.compute = ctx.precision.activation;
  ctx.precision.apart = {};
  return ctx;
}

std::int64_t rounded(std::int64_t pixels, std::int64_t unit) {
  const double units = static_cast<double>(pixels) / static_cast<double>(unit);
  return std::max<std::int64_t>(1, std::llround(units));
}

}  // namespace

void EncoderParams::check() const {
  const auto refuse = [](const std::string& why) { throw ConfigError("encoder: " + why); };
  if (layers < 1 || hidden < 1) refuse("it needs layers and a hidden width of 1 or more");
  if (patch < 1 || merge < 1) refuse(fmt::format("patch {} and merge {} must be 1 or more", patch, merge));
  if (attention.has_value() == state.has_value()) refuse("expected either attention or a state");
  if (dense && moe) refuse("expected one feed-forward, found dense and moe");
  if (full_layers > layers) {
    refuse(fmt::format("full_layers: expected 0 to {}, found {}", layers, full_layers));
  }
  if (image % (patch * merge) != 0 && image / patch % merge != 0) {
    refuse(fmt::format("image: {} pixels do not divide into patches of {} merged {} a side", image, patch,
                       merge));
  }
}

std::int64_t EncoderParams::grid_tokens(Image size) const {
  if (image > 0) return image / patch / merge * (image / patch / merge);
  const std::int64_t height = patch_height > 0 ? patch_height : patch;
  return rounded(size.width, patch * merge) * rounded(size.height, height * merge);
}

std::int64_t EncoderParams::patches(Image size) const {
  return grid_tokens(size) * merge * merge + (class_token ? 1 : 0);
}

std::int64_t EncoderParams::tokens(Image size) const {
  return grid_tokens(size);
}

double EncoderParams::parameters() const {
  double sum = 0;
  for (const auto& part : parts_of(*this)) sum += part.copies * part.op->parameters();
  return sum;
}

double EncoderParams::weight_bytes(const LoweringContext& ctx) const {
  const auto plain = unquantised(ctx);
  double sum = 0;
  for (const auto& part : parts_of(*this)) sum += part.copies * part.op->weight_bytes(plain);
  return sum;
}

void EncoderParams::lower(std::span<const Image> images, const LoweringContext& ctx, KernelCalls& out) const {
  const auto plain = unquantised(ctx);
  BatchShape positions, handed_on;
  for (const Image& size : images) {
    positions.chunks.push_back({patches(size), 0});
    handed_on.chunks.push_back({tokens(size), 0});
  }
  for (const auto& part : parts_of(*this)) {
    const std::size_t first = out.size();
    part.op->lower(part.on_tokens ? handed_on : positions, plain, out);
    for (std::size_t i = first; i < out.size(); ++i) out[i].repeat *= part.launches;
  }
}

std::int64_t images_begun(std::int64_t images, Tokens prompt, Tokens tokens_each, const PrefillChunk& chunk) {
  if (images == 0 || tokens_each == 0) return 0;
  // A trace's images may have had fewer tokens than this model makes of them.
  const Tokens each = std::clamp<Tokens>(prompt / images, 1, tokens_each);
  const auto begun = [&](Tokens n) { return std::min<std::int64_t>(images, (n + each - 1) / each); };
  return begun(chunk.past + chunk.new_tokens) - begun(chunk.past);
}

}  // namespace orrery
