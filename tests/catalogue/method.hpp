#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include <catch2/catch.hpp>

#include "model/block_reader.hpp"
#include "model/methods.hpp"

/// The parameters that express a row of the catalogue, as models/methods gives them.
template <orrery::Visited Params>
Params block_of(std::string_view row, const std::string& block) {
  const orrery::Method method = orrery::find_method(std::string(row));
  return orrery::read_block<Params>(method.blocks.at(block), method.id + "." + block);
}

/// Ends a test that needs rows measured on a GPU, which CTest then shows as skipped.
#define SKIP_UNTIL_MEASURED(why)                              \
  do {                                                        \
    WARN("skipped: needs a measured table of kernels: " why); \
    std::exit(77);                                            \
  } while (false)
