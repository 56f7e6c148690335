#pragma once

#include <memory>

#include "component.hpp"

namespace orrery::kernels {

/// A case of kBlockSelect or kAttentionSelected. Options: block_size; ragged. Of the choice: unfinished
/// (tokens that the last block lacks), idle (a row that pads the batch), keep_first, keep_last. Of attention:
/// spread (how many times as long as what is read a sequence is), splits.
std::unique_ptr<Instance> make_block_sparse_select(const Case& c);

}  // namespace orrery::kernels
