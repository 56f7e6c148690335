#include "attention_decode.hpp"

#include <cmath>
#include <vector>

#include <catch2/catch.hpp>

#include "component.hpp"
#include "paged_cache.hpp"

using namespace orrery;
using namespace orrery::kernels;

TEST_CASE("does one captured launch serve contexts that grow and batches that are padded?", "[kernels]") {
  constexpr int kSeqs = 3, kHeads = 4;
  const PagedCache cache({300, 140, 5}, {16, 2, 64, DType::bf16, true}, 1);
  const auto q = random_array<bf16>(std::size_t{kSeqs} * kHeads * 64, 2);
  auto contexts = DeviceArray<std::int32_t>(std::size_t{kSeqs});
  const auto args_for = [&](int splits, bf16* out, float* workspace) {
    AttentionDecodeArgs args;
    args.q = q.data(), args.kv = cache.view(), args.contexts = contexts.data();
    args.out = out, args.workspace = workspace;
    args.seqs = kSeqs, args.heads = kHeads, args.scale = 0.125F, args.splits = splits;
    return args;
  };
  const auto out = poisoned_array<bf16>(q.size()), whole = poisoned_array<bf16>(q.size());
  const auto workspace = poisoned_array<float>(attention_decode_workspace(kSeqs, kHeads, 64, 3));
  const auto args = args_for(3, out.data(), workspace.data());
  const Graph graph([&](StreamRef stream) { attention_decode(args, stream); });
  for (const std::vector<std::int32_t>& lengths :
       {std::vector<std::int32_t>{1, 1, 0}, {128, 127, 0}, {129, 140, 1}, {300, 140, 5}}) {
    contexts.upload(lengths);
    graph.replay(nullptr);
    attention_decode(args_for(1, whole.data(), nullptr), nullptr);
    INFO("contexts " << lengths[0] << ", " << lengths[1] << ", " << lengths[2]);
    CHECK(compare(to_doubles(out), to_doubles(whole), 8e-3).passed());
  }
}
