#include "base/data_dir.hpp"

#include <cstdlib>
#include <filesystem>

namespace orrery {

std::string data_dir() {
  if (const char* set = std::getenv("ORRERY_DATA"); set && *set) return set;
  std::error_code ignored;
  if (std::filesystem::exists(std::string(ORRERY_SOURCE_DIR) + "/models", ignored)) return ORRERY_SOURCE_DIR;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", ignored);
  const auto beside = self.parent_path().parent_path() / "share" / "orrery";
  if (!ignored && std::filesystem::exists(beside / "models", ignored)) return beside.string();
  return ORRERY_INSTALLED_DATA_DIR;
}

}  // namespace orrery
