#include <cstdio>

#include "base/data_dir.hpp"
#include "base/version.hpp"
#include "command.hpp"
#include "options.hpp"

namespace orrery {
namespace {

int run(const std::vector<std::string>& args) {
  Options options("version", "The version, and where its data lies.");
  if (!options.parse(args)) return 0;
  if (options.output().json) {
    std::printf("{\"version\": \"%s\", \"data\": \"%s\"}\n", kVersion, data_dir().c_str());
  } else {
    std::printf("orrery %s\ndata    %s\n", kVersion, data_dir().c_str());
  }
  return 0;
}

const Registration<Commands> registered{"version", "the version, and where its data lies", run};

}  // namespace
}  // namespace orrery
