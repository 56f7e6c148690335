#include "attention_mask.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "attention_prefill.hpp"
#include "attention_prefill_cases.hpp"
#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"

using namespace orrery;
using namespace orrery::kernels;

namespace {

PrefillShape shape(std::int64_t seqs, std::int64_t n, std::int64_t past, std::int64_t ragged = 0) {
  PrefillShape s;
  s.seqs = seqs, s.new_tokens = n, s.past = past, s.ragged = ragged, s.heads = 2;
  return s;
}

/// Every kind of mask, with windows and trees shorter and longer than the chunk, sinks inside and outside.
std::vector<PrefillShape> shapes() {
  std::vector<PrefillShape> all;
  for (const auto& base : {shape(1, 1, 0), shape(1, 200, 0), shape(3, 130, 77, 1), shape(1, 40, 300)}) {
    all.push_back(base);
    for (const std::int64_t window : {1, 33, 150, 1000}) {
      PrefillShape s = base;
      s.window = window, all.push_back(s);
      s.sinks = 4, all.push_back(s);
      s.sinks = 100, all.push_back(s);
      s.sinks = 0, s.bidirectional = 1, all.push_back(s);
    }
    PrefillShape s = base;
    s.bidirectional = 1, all.push_back(s);
    s = base;
    for (const std::int64_t nodes : {1, 20, 64}) s.tree = nodes, all.push_back(s);
    s = base;
    for (const std::int64_t percent : {1, 30, 100}) s.sparse_percent = percent, all.push_back(s);
  }
  return all;
}

/// The batch's mask with its arrays in place: the emulator's device memory is the host's.
AttentionMask mask_of(const PrefillBatch& batch) {
  AttentionMask mask = batch.mask;
  mask.tree = batch.tree.data();
  mask.sparse_offsets = batch.sparse_offsets.data(), mask.sparse_blocks = batch.sparse_blocks.data();
  return mask;
}

QueryRange queries(const PrefillBatch& batch, std::size_t seq, Tokens first, Tokens last) {
  const auto& chunk = batch.chunks[seq];
  const auto keys = static_cast<int>(chunk.past + chunk.new_tokens);
  const int nodes = std::min(batch.mask.tree_nodes, static_cast<int>(chunk.new_tokens));
  return {static_cast<int>(chunk.past + first), static_cast<int>(chunk.past + last), keys, keys - nodes};
}

/// What the kernel asks of a query and a key, wherever the 64 keys it asks for begin.
bool visible(const AttentionMask& mask, const QueryRange& q, int position, std::uint64_t ancestors, int key) {
  int seen = 0, asked = 0;
  for (int first = std::max(key - 63, 0); first <= key; ++first, ++asked) {
    seen += static_cast<int>(seen_keys(mask, q, position, ancestors, first) >> (key - first) & 1U);
  }
  if (seen != 0 && seen != asked) FAIL("the answer depends on where the 64 keys begin");
  return seen > 0;
}

/// Rows of a tile of queries and keys that are visible, by the definition.
int count_visible(const PrefillBatch& batch, std::int64_t seq, Tokens first, Tokens last, int key_first,
                  int key_last) {
  const auto& chunk = batch.chunks[static_cast<std::size_t>(seq)];
  int seen = 0;
  for (Tokens q = first; q <= last; ++q) {
    for (Tokens k = key_first; k <= std::min<Tokens>(key_last, chunk.past + chunk.new_tokens - 1); ++k) {
      seen += batch.sees(2, seq, 1, q, k) ? 1 : 0;
    }
  }
  return seen;
}

}  // namespace

TEST_CASE("do the dimensions of a case count the pairs and keys its mask shows?", "[attention]") {
  for (const auto& s : shapes()) {
    const Case c = prefill_case(s);
    INFO(describe(c));
    const PrefillBatch batch = batch_of(s);
    double pairs = 0, keys = 0;
    for (std::int64_t seq = 0; seq < s.seqs; ++seq) {
      const auto& chunk = batch.chunks[static_cast<std::size_t>(seq)];
      for (std::int64_t head = 0; head < s.heads; ++head) {
        std::set<Tokens> read;
        for (Tokens q = 0; q < chunk.new_tokens; ++q) {
          for (Tokens k = 0; k < chunk.past + chunk.new_tokens; ++k) {
            if (batch.sees(s.heads, seq, head, q, k)) ++pairs, read.insert(k);
          }
        }
        keys += static_cast<double>(read.size());
      }
    }
    CHECK(c.call.dims[2] == Approx(pairs / static_cast<double>(s.heads)));
    CHECK(c.call.dims[3] == Approx(keys / static_cast<double>(s.heads)));
    CHECK(c.call.dims[4] <= c.call.dims[3]);
  }
}

TEST_CASE("does the kernel's predicate agree with the definition of every mask?", "[attention]") {
  for (const auto& s : shapes()) {
    INFO(describe(prefill_case(s)));
    if (s.sparse_percent > 0) continue;  // blocks are a matter of which tiles are visited
    const PrefillBatch batch = batch_of(s);
    const AttentionMask mask = mask_of(batch);
    std::size_t token = 0;
    int wrong = 0;
    for (std::size_t seq = 0; seq < batch.chunks.size(); ++seq) {
      const QueryRange all = queries(batch, seq, 0, batch.chunks[seq].new_tokens - 1);
      for (int position = all.first; position <= all.last; ++position, ++token) {
        const std::uint64_t word = batch.tree.empty() ? 0 : batch.tree[token];
        for (int key = 0; key < all.keys + 3; ++key) {
          const bool expected =
              key < all.keys && batch.sees(2, static_cast<std::int64_t>(seq), 0, position - all.first, key);
          wrong += visible(mask, all, position, word, key) != expected ? 1 : 0;
        }
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("are the tiles visited all that hold a visible key, each once, and cover() never wrong?",
          "[attention]") {
  for (const auto& s : shapes()) {
    const PrefillBatch batch = batch_of(s);
    const AttentionMask mask = mask_of(batch);
    INFO(describe(prefill_case(s)));
    for (std::size_t seq = 0; seq < batch.chunks.size(); ++seq) {
      const auto index = static_cast<std::int64_t>(seq);
      for (Tokens first = 0; first < batch.chunks[seq].new_tokens; first += 64) {
        const Tokens last = std::min(first + 64, batch.chunks[seq].new_tokens) - 1;
        const QueryRange range = queries(batch, seq, first, last);
        const std::int64_t row =
            mask.sparse_rows == 0 ? 0 : (index * 2 + 1) * mask.sparse_rows + first / kSparseBlock;
        const auto tiles = key_tiles<64>(mask, range, row);
        std::set<int> visited;
        for (int i = 0; i < tiles.count; ++i) visited.insert(tiles.number(mask, i));
        CHECK(static_cast<int>(visited.size()) == tiles.count);
        for (int tile = 0; tile <= range.keys / 64; ++tile) {
          const int seen = count_visible(batch, index, first, last, tile * 64, tile * 64 + 63);
          if (seen > 0) CHECK(visited.count(tile) == 1);
          const Cover answer = cover(mask, range, tile * 64, tile * 64 + 63);
          if (visited.count(tile) == 0) continue;
          if (answer == Cover::none) CHECK(seen == 0);
          if (answer == Cover::all) CHECK(seen == static_cast<int>(last - first + 1) * 64);
          if (mask.sparse_rows == 0 && mask.sinks == 0) CHECK(seen > 0);  // no tile in vain
        }
      }
    }
  }
}

TEST_CASE("is a call of prefill attention measured at its own dimensions?", "[attention]") {
  const Component& component = *Registry<Components>::find("attention_prefill").make;
  std::vector<PrefillShape> wanted{shape(1, 512, 0), shape(8, 256, 4096), shape(1, 2048, 16384)};
  wanted.push_back(shape(2, 1024, 8192));
  wanted.back().window = 4096;
  wanted.push_back(shape(1, 1024, 512));
  wanted.back().window = 1000;
  for (const auto& s : wanted) {
    const KernelCall call = prefill_case(s).call;
    const auto cases = component.cases_of(call);
    REQUIRE(cases.size() == 1);
    INFO(describe(cases[0]));
    CHECK(cases[0].call.dims == call.dims);
  }
  CHECK(
      component.cases_of(make_call(kAttentionDecode, {1, 64, 8, 2, 128}, DType::bf16, DType::bf16)).empty());
  // A mixed batch has no equal chunks: the nearest one is measured, and says what it is.
  const KernelCall mixed = prefill_case(shape(5, 1000, 3000, 1)).call;
  const auto nearest = component.cases_of(mixed);
  REQUIRE(nearest.size() == 1);
  CHECK(nearest[0].call.dims[0] == 5);
  CHECK(nearest[0].call.dims[1] == Approx(mixed.dims[1]).epsilon(0.01));
}

TEST_CASE("do prompts that fill the GPU take large blocks, and others small ones?", "[attention]") {
  CHECK(prefill_block_queries(1, 8192, 32, 132) == 128);
  CHECK(prefill_block_queries(1, 512, 32, 132) == 64);       // 128 blocks of 128 for 132 SMs
  CHECK(prefill_block_queries(1, 33 * 128, 8, 132) == 128);  // exactly two per SM
  CHECK(prefill_block_queries(1, 33 * 128 - 128, 8, 132) == 64);
  CHECK(prefill_block_queries(64, 64, 32, 132) == 64);  // half of each block of 128 would be empty
}

TEST_CASE("can every case of the sweep be made again from its row?", "[attention]") {
  const Component& component = *Registry<Components>::find("attention_prefill").make;
  const auto cases = component.sweep(device_info());
  CHECK(cases.size() >= 50);
  CHECK(cases.size() <= 300);
  std::set<std::string> names;
  for (const Case& c : cases) {
    INFO(describe(c));
    CHECK(prefill_case(shape_of(c)).call.dims == c.call.dims);
    CHECK(names.insert(describe(c)).second);
  }
}
