#pragma once

#include <memory>
#include <string>

namespace orrery::profile {

/// NVIDIA's profiling library, opened at run time: programs that use it start without it.
class CuptiLibrary {
 public:
  /// The one of the CUDA version this was built with; nullptr, and `why` a sentence, when there is none.
  static std::shared_ptr<const CuptiLibrary> open(std::string& why);
  ~CuptiLibrary();
  CuptiLibrary(const CuptiLibrary&) = delete;
  CuptiLibrary& operator=(const CuptiLibrary&) = delete;

  /// Sets `function` (a pointer of the function's type) to the symbol; false when the library lacks it.
  template <class Function>
  bool find(Function& function, const char* symbol) const {
    function = reinterpret_cast<Function>(address(symbol));
    return function != nullptr;
  }
  /// "CUPTI_ERROR_INSUFFICIENT_PRIVILEGES"; the number where the library does not say.
  std::string error_name(int result) const;

 private:
  explicit CuptiLibrary(void* handle) : handle_(handle) {}
  void* address(const char* symbol) const;
  void* handle_;
};

}  // namespace orrery::profile
