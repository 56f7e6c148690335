#include "cupti_library.hpp"

#include <cuda_runtime_api.h>
#include <cupti_result.h>
#include <dlfcn.h>

namespace orrery::profile {

std::shared_ptr<const CuptiLibrary> CuptiLibrary::open(std::string& why) {
  const std::string name = "libcupti.so." + std::to_string(CUDART_VERSION / 1000);
  const std::string toolkit = ORRERY_CUDA_LIBRARY_DIR;
  for (const std::string& folder : {std::string(), toolkit + "/", toolkit + "/../extras/CUPTI/lib64/"}) {
    if (void* handle = ::dlopen((folder + name).c_str(), RTLD_NOW | RTLD_LOCAL)) {
      return std::shared_ptr<const CuptiLibrary>(new CuptiLibrary(handle));
    }
  }
  why = name + " is not installed";
  return nullptr;
}

CuptiLibrary::~CuptiLibrary() = default;  // never closed: its threads and callbacks outlive every user

void* CuptiLibrary::address(const char* symbol) const {
  return ::dlsym(handle_, symbol);
}

std::string CuptiLibrary::error_name(int result) const {
  decltype(&cuptiGetResultString) text_of = nullptr;
  const char* text = nullptr;
  if (find(text_of, "cuptiGetResultString") &&
      text_of(static_cast<CUptiResult>(result), &text) == CUPTI_SUCCESS) {
    return text;
  }
  return "CUPTI error " + std::to_string(result);
}

}  // namespace orrery::profile
