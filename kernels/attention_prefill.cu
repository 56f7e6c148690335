#include "attention_prefill.hpp"
#include "base/error.hpp"
#include "device/flash.cuh"

// FlashAttention-2 (Dao, 2023) over a paged KV cache (Kwon et al., 2023): one block per 128 (or 64) queries
// and head, four warps of 32 (or 16) queries each, tiles of keys streamed through shared memory by cp.async:
// while a tile's scores are computed its values arrive, and during softmax and P V the next tile's keys do.
// Tiles the mask hides are not visited; only tiles at its edges pay for masking, decided per warp.
//
// Bound by the tensor cores (4 head_dim FLOP per pair) once some hundred keys are visited; by latency where
// few blocks fill the GPU (queries / 64 x heads x sequences below two per SM): the keys are not split among
// blocks, as FlashAttention-2 does not either for prompts. Aim: 60% of FlashAttention-2's throughput on the
// same GPU at large shapes (mma.sync cannot reach the speed of Hopper's wgmma).

namespace orrery::kernels {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarpSize;

/// The sequence's place in the batch, as one block sees it.
struct Place {
  int seq, head, kv_head;
  std::int64_t first_row;  ///< in q, of the sequence's first new token
  int new_tokens, past;
};

ORRERY_DEVICE Place place_of(const AttentionPrefillArgs& args, int seq, int head) {
  const std::int32_t first = args.query_offsets[seq];
  return {
      seq,           head, head / (args.heads / args.kv.kv_heads), first, args.query_offsets[seq + 1] - first,
      args.past[seq]};
}

/// Rows of K and V by the position of their key. What the launch knows is left in its arguments: registers
/// are scarce.
template <class T, int dim>
struct Rows {
  ORRERY_DEVICE Rows(const PagedKv& paged, const std::int32_t* key_offsets, const Place& place)
      : kv(paged),
        first(kv.block_table == nullptr ? key_offsets[place.seq] : place.seq * kv.table_stride),
        shift(log2_of_power(kv.block_size)),
        head_offset(place.kv_head * dim),
        keys(place.past + place.new_tokens) {}

  ORRERY_DEVICE const T* key(const void* base, int position) const {
    int token = first + position;
    if (kv.block_table != nullptr) {
      token = kv.block_table[first + (position >> shift)] << shift | (position & (kv.block_size - 1));
    }
    return static_cast<const T*>(base) + (std::int64_t{token} * (kv.kv_heads * dim) + head_offset);
  }

  const PagedKv& kv;
  int first;  ///< entry of the block table, or key
  int shift, head_offset, keys;
};

/// Hides what the queries of one warp must not see. `token`: number of the first, which stands at q.first.
template <int keys, int row_tiles>
ORRERY_DEVICE void hide(float (&s)[row_tiles][keys / 8][4], const AttentionMask& mask, const QueryRange& q,
                        int token, int key_first) {
  static_assert(keys <= 64);
  const int own_row = lane_id() / 4, base = key_first + lane_id() % 4 * 2;
#pragma unroll
  for (int row = 0; row < 2 * row_tiles; ++row) {
    const int offset = own_row + row * 8, position = q.first + offset;
    const bool node = position >= q.tree_begin && position < q.keys;
    const std::uint64_t seen = seen_keys(mask, q, position, node ? mask.tree[token + offset] : 0, base);
#pragma unroll
    for (int j = 0; j < keys / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if ((seen >> (j * 8 + i) & 1U) == 0) s[row / 2][j][row % 2 * 2 + i] = minus_infinity();
      }
    }
  }
}

/// Writes a warp's rows of the output, rounded, through its part of the queries' tile.
template <class T, int dim, int rows>
ORRERY_DEVICE void write_rows(const T* tile, T* out, std::int64_t stride, int valid) {
  constexpr int pieces = dim / 8;
#pragma unroll
  for (int i = 0; i < rows * pieces / kWarpSize; ++i) {
    const int at = i * kWarpSize + lane_id(), r = at / pieces, piece = at % pieces;
    if (r < valid) {
      store_pack(out + r * stride + piece * 8, load_pack<8>(tile + r * kTileStride<dim> + piece * 8));
    }
  }
}

template <class T, int dim, int keys, int row_tiles>
__global__ void __launch_bounds__(kThreads)
    prefill_kernel(const __grid_constant__ AttentionPrefillArgs args) {
  constexpr int warp_rows = 16 * row_tiles, block_rows = kWarps * warp_rows;
  ORRERY_DYNAMIC_SHARED(T, q_tile);
  T* const k_tile = q_tile + block_rows * kTileStride<dim>;
  T* const v_tile = k_tile + keys * kTileStride<dim>;

  const Place place = place_of(args, static_cast<int>(blockIdx.z), static_cast<int>(blockIdx.y));
  // The last queries see the most keys: they start first.
  const int row0 = static_cast<int>(gridDim.x - 1 - blockIdx.x) * block_rows;
  if (row0 >= place.new_tokens) return;
  const int row_end = row0 + block_rows < place.new_tokens ? row0 + block_rows : place.new_tokens;
  const Rows<T, dim> rows(args.kv, args.key_offsets, place);
  const AttentionMask& mask = args.mask;
  const int nodes = mask.tree_nodes < place.new_tokens ? mask.tree_nodes : place.new_tokens;
  const QueryRange block{place.past + row0, place.past + row_end - 1, rows.keys, rows.keys - nodes};
  const std::int64_t sparse_row =
      (std::int64_t{place.seq} * args.heads + place.head) * mask.sparse_rows + row0 / kSparseBlock;
  const KeyTiles<keys> tiles = key_tiles<keys>(mask, block, sparse_row);

  const auto load_keys = [&](T* tile, const void* base, int number) {
    load_tile_async<dim, keys, kThreads>(tile, rows.keys - number * keys,
                                         [&](int r) { return rows.key(base, number * keys + r); });
  };
  const std::int64_t row_stride = std::int64_t{args.heads} * dim;
  const std::int64_t q_stride = args.q_stride > 0 ? args.q_stride : row_stride;
  const T* const q = static_cast<const T*>(args.q) + place.first_row * q_stride + place.head * dim;
  load_tile_async<dim, block_rows, kThreads>(q_tile, row_end - row0,
                                             [&](int r) { return q + (row0 + r) * q_stride; });
  int number = tiles.count > 0 ? tiles.number(mask, 0) : 0;
  if (tiles.count > 0) load_keys(k_tile, args.kv.k, number);
  async_commit();

  const int warp_row = static_cast<int>(threadIdx.x) / kWarpSize * warp_rows;  // within the block
  T* const own_rows = q_tile + warp_row * kTileStride<dim>;
  const int valid = row_end - row0 - warp_row < warp_rows ? row_end - row0 - warp_row : warp_rows;
  QueryRange own = block;
  own.first += warp_row, own.last = own.first + valid - 1;
  const int token = static_cast<int>(place.first_row) + row0 + warp_row;
  FlashWarp<T, dim, keys, row_tiles> flash;
  for (int i = 0; i < tiles.count; ++i) {
    const int key_first = number * keys;
    const Cover seen = valid > 0 ? cover(mask, own, key_first, key_first + keys - 1) : Cover::none;
    float s[row_tiles][keys / 8][4];
    async_wait<0>();
    __syncthreads();  // the keys are here, and nobody reads the values of the tile before
    load_keys(v_tile, args.kv.v, number);
    async_commit();
    if (seen != Cover::none) flash.scores(s, own_rows, k_tile);
    if (seen == Cover::some) hide<keys, row_tiles>(s, mask, own, token, key_first);
    async_wait<0>();
    __syncthreads();  // the values are here, and nobody reads the keys
    if (i + 1 < tiles.count) {
      number = tiles.number(mask, i + 1);
      load_keys(k_tile, args.kv.k, number);
    }
    async_commit();
    if (seen == Cover::none) continue;
    flash.softmax(s, args.scale);
    flash.values(s, v_tile);
  }
  async_wait<0>();
  if (tiles.count == 0) __syncthreads();  // other threads may still be copying queries into this warp's rows
  flash.normalise();
  warp_sync();
  flash.store(own_rows);
  warp_sync();
  T* const out = static_cast<T*>(args.out) + token * row_stride + place.head * dim;
  write_rows<T, dim, warp_rows>(own_rows, out, row_stride, valid);
}

template <class T, int dim, int keys, int row_tiles>
void start(const AttentionPrefillArgs& args, StreamRef stream) {
  constexpr int block_rows = kWarps * 16 * row_tiles;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(ceil_div(args.max_new_tokens, block_rows)),
                    static_cast<unsigned>(args.heads), static_cast<unsigned>(args.seqs));
  shape.block = dim3(kThreads);
  shape.shared_bytes = std::size_t{block_rows + 2 * keys} * kTileStride<dim> * sizeof(T);
  shape.stream = stream;
  launch(prefill_kernel<T, dim, keys, row_tiles>, shape, args);
}

/// Tiles as FlashAttention-2 has them: as many queries and keys as leave two blocks per SM.
template <class T>
void start(const AttentionPrefillArgs& args, StreamRef stream) {
  const bool wide = args.block_queries == 128;
  switch (args.kv.head_dim) {
    case 64:
      return wide ? start<T, 64, 64, 2>(args, stream) : start<T, 64, 64, 1>(args, stream);
    case 96:
      return wide ? start<T, 96, 64, 2>(args, stream) : start<T, 96, 64, 1>(args, stream);
    case 128:
      return wide ? start<T, 128, 64, 2>(args, stream) : start<T, 128, 64, 1>(args, stream);
    default:
      return start<T, 256, 64, 1>(args, stream);
  }
}

}  // namespace

bool attention_prefill_supports(int head_dim, DType format) {
  const bool known = head_dim == 64 || head_dim == 96 || head_dim == 128 || head_dim == 256;
  return known && (format == DType::bf16 || format == DType::fp16);
}

int prefill_block_queries(int seqs, int max_new_tokens, int heads, int sm_count) {
  const std::int64_t blocks = std::int64_t{seqs} * heads * ceil_div(max_new_tokens, 128);
  return max_new_tokens <= 64 || blocks < 2 * std::int64_t{sm_count} ? 64 : 128;
}

void attention_prefill(const AttentionPrefillArgs& args, StreamRef stream) {
  const AttentionMask& mask = args.mask;
  ORRERY_CHECK(attention_prefill_supports(args.kv.head_dim, args.kv.format),
               "no prefill attention for this head dimension or format");
  ORRERY_CHECK(args.block_queries == 64 || args.block_queries == 128, "blocks of 64 or 128 queries");
  ORRERY_CHECK(args.heads % args.kv.kv_heads == 0, "query heads share KV heads unevenly");
  ORRERY_CHECK((args.kv.block_size & (args.kv.block_size - 1)) == 0, "a block size that is no power of two");
  ORRERY_CHECK(mask.causal || (mask.sinks == 0 && mask.tree_nodes == 0), "sinks and trees are causal");
  ORRERY_CHECK(mask.tree_nodes <= 64, "a token tree of more than 64 nodes");
  if (args.seqs == 0 || args.max_new_tokens == 0) return;
  AttentionPrefillArgs kernel_args = args;
  kernel_args.scale *= 1.4426950408889634F;  // log2(e): the kernel's exponentials are powers of two
  kernel_args.kv.format == DType::bf16 ? start<bf16>(kernel_args, stream) : start<fp16>(kernel_args, stream);
}

}  // namespace orrery::kernels
