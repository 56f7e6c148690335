#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "collector.hpp"
#include "orrery/errors.hpp"
#include "runtime/runtime.hpp"
#include "session.hpp"

// orrery-profile: times the kernels of kernels/ on this machine's GPU. orrery-profile-emulated: the same
// program with the kernels compiled for the CPU's emulator, which can rehearse but not measure.

int main(int argc, char** argv) {
  using namespace orrery;
  const auto fail = [](ExitCode code, const std::string& text) {
    std::fputs(text.c_str(), stderr);
    return static_cast<int>(code);
  };
  try {
    const auto settings = profile::parse_arguments({argv + 1, argv + argc});
    if (settings.help) {
      std::fputs(profile::help_text(std::filesystem::path(argv[0]).filename().string()).c_str(), stdout);
      return 0;
    }
    profile::stop_on_signals();
    return profile::run(settings);
  } catch (const ConfigError& e) {
    return fail(e.code(), render_error(e));
  } catch (const kernels::DeviceError& e) {
    return fail(ExitCode::no_device, std::string("error: the GPU failed: ") + e.what() + "  [exit 4]\n");
  } catch (const std::exception& e) {
    return fail(ExitCode::internal, std::string("error: ") + e.what() + "  [exit 70]\n");
  }
}
