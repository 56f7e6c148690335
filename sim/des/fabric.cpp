#include "des/fabric.hpp"

#include "base/error.hpp"

namespace orrery {

void NullFabric::transfer(int, int, Bytes, std::function<void(Ps)>) {
  ORRERY_CHECK(false, "a transfer was started, but this scenario has no fabric");
}

}  // namespace orrery
