#include "block_sparse_select.hpp"

#include <cmath>

#include <catch2/catch.hpp>

#include "attention_decode.hpp"
#include "component.hpp"
#include "paged_cache.hpp"

using namespace orrery::kernels;

namespace {

constexpr int kSeqs = 2, kHeads = 4, kKvHeads = 2, kDim = 64, kBlock = 16;

/// Decode attention over the `selected` best blocks of each sequence and KV head.
std::vector<double> attend(const PagedCache& cache, const bf16* q, int selected, BlockScore score) {
  const PagedKv& kv = cache.view();
  std::int64_t blocks = 0;
  for (const int context : cache.contexts()) blocks += orrery::kernels::ceil_div(context, kBlock);
  const auto n = [](auto... sizes) { return (std::size_t{1} * ... * static_cast<std::size_t>(sizes)); };
  const auto summaries = poisoned_array<bf16>(n(blocks, kKvHeads, summary_vectors(score), kDim));
  summarise_blocks({kv, summaries.data(), blocks, score}, nullptr);
  const auto scores = poisoned_array<float>(n(kSeqs, kKvHeads, kv.table_stride));
  const auto head_scores = poisoned_array<float>(n(kSeqs, kHeads, kv.table_stride));
  const auto chosen = poisoned_array<std::int32_t>(n(kSeqs, kKvHeads, selected));
  const auto rows = poisoned_array<std::int32_t>(n(kSeqs, kKvHeads, selected, kBlock));
  const auto lengths = poisoned_array<std::int32_t>(n(kSeqs, kKvHeads));
  SelectBlocksArgs select;
  select.q = q, select.summaries = summaries.data(), select.kv = kv,
  select.contexts = cache.device_contexts();
  select.scores = scores.data(), select.chosen = chosen.data(), select.rows = rows.data();
  if (score == BlockScore::compressed) select.head_scores = head_scores.data();
  select.lengths = lengths.data(), select.seqs = kSeqs, select.heads = kHeads, select.selected = selected;
  select.score = score, select.scale = 0.125F;
  select_blocks(select, nullptr);
  const auto out = poisoned_array<bf16>(n(kSeqs, kHeads, kDim));
  AttentionSelectedArgs args;
  args.q = q, args.kv = kv, args.rows = rows.data(), args.lengths = lengths.data(), args.out = out.data();
  args.stride = selected * kBlock, args.seqs = kSeqs, args.heads = kHeads, args.scale = 0.125F;
  attention_selected(args, nullptr);
  return to_doubles(out);
}

}  // namespace

TEST_CASE("is attention over selected blocks dense attention when all of them are selected?") {
  PagedCache cache({50, 33}, {kBlock, kKvHeads, kDim, orrery::DType::bf16, true}, 5);
  cache.poison_tails();
  const auto q = random_array<bf16>(kSeqs * kHeads * kDim, 9, 3.0F), out = poisoned_array<bf16>(q.size());
  AttentionDecodeArgs dense;
  dense.q = q.data(), dense.kv = cache.view(), dense.contexts = cache.device_contexts(),
  dense.out = out.data();
  dense.seqs = kSeqs, dense.heads = kHeads, dense.scale = 0.125F;
  attention_decode(dense, nullptr);
  const auto expected = to_doubles(out);
  for (const auto score : {BlockScore::mean, BlockScore::bounds, BlockScore::compressed}) {
    CHECK(compare(attend(cache, q.data(), 4, score), expected, 1e-6).passed());
    CHECK(compare(attend(cache, q.data(), 7, score), expected, 1e-6).passed());
    CHECK_FALSE(compare(attend(cache, q.data(), 2, score), expected, 1e-2).passed());
  }
}
