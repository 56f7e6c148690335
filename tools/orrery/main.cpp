#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>

#include <poll.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/version.hpp"
#include "command.hpp"
#include "errors.hpp"
#include "option_words.hpp"
#include "options.hpp"

namespace orrery {
namespace {

void print_commands(std::FILE* to) {
  std::string out =
      "Orrery predicts how an LLM server behaves: it replays requests through a simulated GPU cluster and "
      "says\n"
      "what users would feel (TTFT, TPOT, throughput, goodput) and why.\n\nusage: orrery COMMAND "
      "[options]\n\n";
  for (const auto& c : Registry<Commands>::entries()) {
    if (c.name.rfind("__", 0) != 0) out += help_row(c.name, c.help);
  }
  out +=
      "\n'orrery COMMAND --help' explains a command. Start with: orrery run -m llama-3.1-8b -g h100-sxm "
      "--trace builtin:conversation\n";
  std::fputs(out.c_str(), to);
}

int run_command(std::vector<std::string> words) {
  std::vector<std::string> leading;
  while (!words.empty() && is_output_flag(words.front())) {
    leading.push_back(words.front());
    words.erase(words.begin());
  }
  if (words.empty()) {
    print_commands(stderr);
    return static_cast<int>(ExitCode::usage);
  }
  const std::string verb = words.front();
  if (verb == "help" && words.size() > 1) {
    words.erase(words.begin());
    words.push_back("--help");
    return run_command(words);
  }
  if (verb == "--help" || verb == "-h" || verb == "help") return print_commands(stdout), 0;
  if (verb == "--version" || verb == "-V") return std::printf("orrery %s\n", kVersion), 0;
  if (verb[0] == '-') {
    throw ConfigError("expected a command before '" + verb + "'", "see: orrery --help", ExitCode::usage);
  }
  words.erase(words.begin());
  words.insert(words.end(), leading.begin(), leading.end());
  for (const auto& c : Registry<Commands>::entries()) {
    if (c.name == verb) return c.make(words);
  }
  std::vector<std::string> names = Registry<Commands>::names();
  std::erase_if(names, [](const std::string& name) { return name.rfind("__", 0) == 0; });
  throw ConfigError("unknown command '" + verb + "'", suggestion(verb, names), ExitCode::usage);
}

/// Results that did not reach stdout are a failure, except when the reader left (`orrery ... | head`).
int finish_stdout(int code) {
  errno = 0;
  if (std::fflush(stdout) == 0 && !std::ferror(stdout)) return code;
  const std::string why = errno != 0 ? std::strerror(errno) : "an earlier write failed";
  pollfd out{STDOUT_FILENO, POLLOUT, 0};
  if (poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0) return code;  // a pipe nobody reads any more
  std::fprintf(stderr, "error: cannot write to standard output: %s  [exit 3]\n", why.c_str());
  return static_cast<int>(ExitCode::bad_input);
}

}  // namespace
}  // namespace orrery

int main(int argc, char** argv) {
  using namespace orrery;
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return finish_stdout(run_command({argv + 1, argv + argc}));
  } catch (const ConfigError& e) {
    std::fflush(stdout);
    std::fputs(render_error(e).c_str(), stderr);
    return static_cast<int>(e.code());
  } catch (const std::bad_alloc&) {
    std::fputs("error: out of memory  [exit 70]\n", stderr);
  } catch (const std::exception& e) {
    if (std::ferror(stdout)) return finish_stdout(0);  // fmt throws where it cannot write
    std::fprintf(stderr,
                 "internal error: %s\n  this is a bug in orrery %s: please report it with the command line  "
                 "[exit 70]\n",
                 e.what(), kVersion);
  }
  return static_cast<int>(ExitCode::internal);
}
