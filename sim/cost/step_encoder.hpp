#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "cost/step_kernels.hpp"
#include "cost/step_parts.hpp"

namespace orrery {

/// Time of an encoder's forward over the images of a step, all of one size, by their number: engines encode
/// the images that a step needs in one batch before the language model runs, outside captured graphs.
class EncoderTable {
 public:
  EncoderTable(const StepKernels& kernels, EncoderParams encoder, Image size, const KernelPlan& plan);

  Tokens tokens_each() const { return encoder_.tokens(size_); }
  /// Device time, kernels and what lies between them; 0 without images.
  std::int64_t ps(std::span<const PrefillChunk> chunks);
  /// Adds one step's images to the account; returns the kernels' ps.
  double account(std::span<const PrefillChunk> chunks, ClassAccount& out);
  /// The calls of a forward over `images`.
  void lower(std::int64_t images, KernelCalls& out) const;
  std::int64_t between_ps() const { return between_; }

 private:
  struct Share {
    const KernelClass* cls;
    Provenance provenance;
    double seconds;
  };
  struct Price {
    std::int64_t ps = 0;
    std::vector<Share> shares;
  };
  const Price& price(std::int64_t images);

  const StepKernels* kernels_;
  EncoderParams encoder_;
  Image size_;
  std::int64_t between_;
  std::map<std::int64_t, Price> prices_;
};

/// Of all chunks of a step.
std::int64_t images_of(std::span<const PrefillChunk> chunks);

}  // namespace orrery
