#pragma once

#include <optional>
#include <string>

#include "model/blocks.hpp"
#include "model/methods.hpp"
#include "model/model_spec.hpp"

namespace orrery {

/// A row's blocks with the sizes of one model, layer kind by layer kind: what becomes of each part of it.
/// Errors of all: ConfigError naming the row, the field and what is wrong for this model.
class RowBlocks {
 public:
  RowBlocks(const ModelSpec& base, const Method& row);

  /// Whether the row rewrites models by this block.
  bool has(const std::string& block) const;
  /// The layer kind whose sizes the expressions speak of from now on.
  void at(const LayerKind& kind) { kind_ = &kind; }

  /// Attention with the row's fields over its own; nullopt where the row changes nothing of it.
  std::optional<Mixer> refined(const Mixer& mixer) const;
  Mixer latent() const;
  Mixer state() const;
  DenseParams dense(const DenseParams& from) const;
  /// Experts instead of a dense feed-forward, or other fields of experts; nullopt for a layer without either,
  /// and for the dense layers of a model that has experts.
  std::optional<Ffn> experts(const Ffn& from) const;
  /// The model's formats with every linear layer compressed; with the row's formats over `formats`.
  Precision compressed() const;
  Precision stored(const Precision& formats) const;
  EncoderParams encoder() const;

 private:
  Json values(const std::string& block) const;
  Json size(std::string_view name) const;
  /// `params` with the row's fields over it, but for those of `own` that are plain values. False where none
  /// is left.
  bool merge(const std::string& block, std::initializer_list<const char*> own, Json& params) const;
  std::string where(const std::string& block) const { return row_.id + "." + block; }
  bool in_scope(const AttentionParams& p) const;

  const ModelSpec& base_;
  const Method& row_;
  const LayerKind* kind_ = nullptr;
  bool any_full_ = false;  ///< a layer of the base sees every key
  bool any_experts_ = false;
};

}  // namespace orrery
