#include "collectives.hpp"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

struct RankGroup::Impl {};

int RankGroup::available(std::string* why) {
  if (why != nullptr) *why = "the emulator is one device";
  return 1;
}
RankGroup::RankGroup(int, std::size_t) {
  throw DeviceError("collectives need several GPUs", 1, false, false);
}
RankGroup::~RankGroup() = default;
double RankGroup::run(Collective, std::size_t) {
  return 0;
}
double RankGroup::check(Collective, std::size_t) {
  return 0;
}

}  // namespace orrery::kernels
