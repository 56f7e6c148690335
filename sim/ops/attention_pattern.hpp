#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops/batch_shape.hpp"
#include "ops/dtype.hpp"
#include "ops/key_cap.hpp"

namespace orrery {

/// When a pattern holds; in the other phase every query sees all keys. `training`: never while serving
/// (shifted groups of LongLoRA; Chen et al., 2023).
enum class Phase : std::uint8_t { always, prefill, decode, training };
std::span<const std::string_view> enum_names(Phase);

/// How a summary is made of `length` tokens, each for K and for V: `weighted`, a weighted sum (pooling, a row
/// of Linformer's E; 2 length d operations), or `mapped`, a matrix on all of them (a strided convolution of
/// Compressive Transformer, NSA's phi; 2 length d^2). `gated`: of rows that serve as key and value at once,
/// weighted number by number by a softmax over the tokens' gates; rows and gates are projected anew from the
/// layer's input, for each summary a token is part of (DeepSeek-V4).
enum class SummaryForm : std::uint8_t { weighted, mapped, gated };
std::span<const std::string_view> enum_names(SummaryForm);

/// Keys that each stand for several tokens, read beside the tokens' own.
struct KeySummaries {
  Tokens stride = 0;  ///< tokens from one summary to the next; 0 = `count` of them for the whole sequence
  Tokens length = 0;  ///< tokens in each; 0 = stride
  Tokens count = 0;   ///< of the whole sequence, however long (Linformer's k)
  Tokens most = 0;    ///< kept at most, of tokens that have left the window; 0 = all, of all tokens
  SummaryForm form = SummaryForm::weighted;

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("stride", p.stride), v("length", p.length), v("count", p.count), v("most", p.most), v("form", p.form);
  }
  bool operator==(const KeySummaries&) const = default;
};

/// How keys are chosen by content, which costs something before attention runs.
enum class KeyIndex : std::uint8_t {
  none,       ///< known beforehand
  blocks,     ///< scores of blocks by `vectors` summaries of each (block 1: exact top-k)
  indexer,    ///< heads of their own over keys of their own (DeepSeek-V3.2, 2025, eq. 1)
  scores,     ///< attention that a key has received so far (H2O, TOVA)
  hash,       ///< random rotations, keys sorted by bucket (Reformer)
  centroids,  ///< the nearest of `buckets` centroids (Routing Transformer)
  router,     ///< a projection of each token per head (expert choice; MoSA)
};
std::span<const std::string_view> enum_names(KeyIndex);

/// Keys chosen by content: budget + fraction * n of the n visible ones, after those that the pattern sees by
/// position (a window, globals).
struct KeySelection {
  KeyIndex index = KeyIndex::none;
  Tokens budget = 0;
  double fraction = 0;
  Tokens block = 1;        ///< contiguous tokens chosen together
  bool evicts = false;     ///< the others leave the KV cache (H2O), else it keeps all (Quest)
  bool queries = false;    ///< the others do not query either (token pruning; MoSA)
  bool summaries = false;  ///< chooses among the summaries, not the tokens (DeepSeek-V4)

  std::int64_t vectors = 1;      ///< blocks: summaries per block (Quest's least and greatest: 2)
  std::int64_t index_heads = 0;  ///< 0 = those of the attention
  std::int64_t index_dim = 0;    ///< 0 = the attention's head_dim
  DType index_dtype = DType::bf16;
  Tokens query_block = 1;    ///< prompt queries that share a score (pooled: 64)
  Tokens probe_queries = 0;  ///< only the last so many prompt queries are scored (MInference); 0 = all
  std::int64_t buckets = 0;  ///< hash, centroids; hash with 0: one per `block` keys
  std::int64_t hashes = 1;   ///< rounds of hashing

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("index", p.index), v("budget", p.budget), v("fraction", p.fraction), v("block", p.block);
    v("evicts", p.evicts), v("queries", p.queries), v("summaries", p.summaries);
    v("vectors", p.vectors);
    v("index_heads", p.index_heads), v("index_dim", p.index_dim), v("index_dtype", p.index_dtype);
    v("query_block", p.query_block), v("probe_queries", p.probe_queries);
    v("buckets", p.buckets), v("hashes", p.hashes);
  }
  bool operator==(const KeySelection&) const = default;
};

/// Which keys a query of one head sees. The default is every key up to its own (all keys, not `causal`).
/// By position it sees the union of: its surroundings (all; or a window; or its block), the first `globals`
/// tokens, every `stride`-th key, the last `columns` of each block, `random` others; `summaries` come on top,
/// and `select` puts chosen keys in the place of surroundings without a window (chosen summaries in the place
/// of all of them). Counts are means over heads
/// where heads differ (offsets of dilated blocks).
struct AttentionPattern {
  bool causal = true;
  Phase phase = Phase::always;

  bool local = true;         ///< false: no surroundings (globals alone, strides alone)
  Tokens window = 0;         ///< last keys, its own included; not causal: as many on either side; 0 = all
  double window_growth = 0;  ///< the window is longer by this share of the context (MoA; Fu et al., 2024)
  Tokens dilation = 1;       ///< the window's keys lie so far apart; of a block, a head sees every so-manieth
  Tokens block = 0;          ///< instead of a window: the keys of its own block of so many tokens ...
  Tokens memory = 0;         ///< ... and those before the block's start (after its end, too, not causal)
  std::int64_t levels = 1;   ///< LongNet: blocks and dilations of this many sizes, read one after another ...
  std::int64_t level_growth = 2;  ///< ... each so many times the one before

  Tokens globals = 0;  ///< tokens at the start that all see, and that see all (sinks of StreamingLLM)
  Tokens stride = 0;   ///< keys a multiple of this far away (Sparse Transformer, strided); 0 = none
  Tokens columns = 0;  ///< the last keys of every earlier block (Sparse Transformer, fixed)
  Tokens random = 0;   ///< keys drawn once from the unseen ones (BigBird)
  std::optional<KeySummaries> summaries;
  std::optional<KeySelection> select;

  AttentionPattern() = default;
  /// A window of the last `keys` keys; 0 = all.
  AttentionPattern(Tokens keys) : window(keys) {}  // NOLINT: a window is a pattern

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("causal", p.causal), v("phase", p.phase), v("local", p.local);
    v("window", p.window), v("window_growth", p.window_growth), v("dilation", p.dilation);
    v("block", p.block), v("memory", p.memory), v("levels", p.levels), v("level_growth", p.level_growth);
    v("globals", p.globals), v("stride", p.stride), v("columns", p.columns), v("random", p.random);
    v("summaries", p.summaries), v("select", p.select);
  }
  bool operator==(const AttentionPattern&) const = default;

  bool chooses_tokens() const { return select && !select->summaries; }
  /// Query-key pairs computed for a prompt chunk. Exact up to 2^53.
  double pairs(const PrefillChunk& chunk) const;
  /// Distinct keys those queries read; of chosen or random keys what they read at most or on average.
  Tokens keys(const PrefillChunk& chunk) const;
  /// Keys a decode query reads of n tokens, its own included: sum of share * cap.of(n), one entry per cap,
  /// shares positive. Exact for windows, sinks, blocks, budgets and growing windows; to within a key per
  /// addend where something is divided (dilation, stride, summaries).
  std::vector<KeyTerm> decode_terms() const;
  /// Tokens that stay in the KV cache (summaries counted as tokens), in the same form.
  std::vector<KeyTerm> resident_terms() const;
  /// Contiguous tokens a decode query gathers at a time; 0 = it streams what it reads.
  Tokens granule() const;
  /// Whether queries see every key in contexts of up to `longest` tokens, at no cost for choosing them.
  bool covers(Tokens longest) const;
  /// Whether it holds in the phase (prefill or decode).
  bool holds(Phase in) const { return phase == Phase::always || phase == in; }
  /// "window of 4096 tokens", "full", ...: for people.
  std::string describe() const;
  /// Errors: ConfigError naming `where` and the field for values out of range or that exclude each other.
  void check(const std::string& where) const;
};

/// Heads that share a pattern (DuoAttention; Xiao et al., 2024; MoA): `share` of all heads. Shares sum to 1,
/// or to more where heads run several attentions (rows, then columns).
struct HeadGroup {
  double share = 1;
  AttentionPattern pattern;

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("share", p.share), v("pattern", p.pattern);
  }
  bool operator==(const HeadGroup&) const = default;
};

/// Adds terms together, one entry per cap, those that come to nothing left out.
std::vector<KeyTerm> sum_terms(std::vector<KeyTerm> terms);
/// sum of share * cap.of(n).
double value_of(const std::vector<KeyTerm>& terms, Tokens n);

/// Pairs of `depths.size()` drafted tokens, each seeing the whole `context` before the draft and its
/// `depths[i]` ancestors in the tree, itself included (token trees; Miao et al., SpecInfer, 2023, section 4).
double tree_pairs(Tokens context, std::span<const Tokens> depths);

}  // namespace orrery
