#include "scenario/processes.hpp"

#include <cerrno>
#include <cstring>
#include <vector>

#include <fmt/format.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.hpp"

namespace orrery {
namespace {

struct Worker {
  pid_t pid = 0;
  int pipe = -1;
  std::size_t index = 0;
  std::string output;
};

void write_all(int fd, const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t n = ::write(fd, text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) ::_exit(static_cast<int>(ExitCode::internal));
    at += static_cast<std::size_t>(n);
  }
}

Worker start(std::size_t index, const std::function<std::string(std::size_t)>& job) {
  int ends[2];
  if (::pipe(ends) != 0) throw ConfigError(fmt::format("cannot open a pipe: {}", std::strerror(errno)));
  const pid_t pid = ::fork();
  if (pid < 0) throw ConfigError(fmt::format("cannot start a process: {}", std::strerror(errno)));
  if (pid == 0) {
    ::close(ends[0]);
    try {
      write_all(ends[1], job(index));
    } catch (...) {
      ::_exit(static_cast<int>(ExitCode::internal));
    }
    ::_exit(0);  // not exit(): what the parent has buffered is the parent's to write
  }
  ::close(ends[1]);
  return {pid, ends[0], index, {}};
}

/// Reads what there is. False when the process has closed its end.
bool drain(Worker& worker) {
  char buffer[65536];
  const ssize_t n = ::read(worker.pipe, buffer, sizeof buffer);
  if (n > 0) worker.output.append(buffer, static_cast<std::size_t>(n));
  return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

ProcessOutcome finish(Worker& worker) {
  ::close(worker.pipe);
  int status = 0;
  while (::waitpid(worker.pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {std::move(worker.output), {}};
  if (WIFSIGNALED(status))
    return {{}, fmt::format("killed by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)))};
  return {{}, fmt::format("ended with status {}", WEXITSTATUS(status))};
}

}  // namespace

void run_in_processes(std::size_t count, int workers, const std::function<std::string(std::size_t)>& job,
                      const std::function<void(std::size_t, const ProcessOutcome&)>& done,
                      const std::function<bool()>& stop) {
  std::vector<Worker> running;
  for (std::size_t next = 0; next < count || !running.empty();) {
    while (next < count && !stop() && static_cast<int>(running.size()) < workers)
      running.push_back(start(next++, job));
    if (running.empty()) return;
    std::vector<pollfd> ends;
    ends.reserve(running.size());
    for (const Worker& worker : running) ends.push_back({worker.pipe, POLLIN, 0});
    if (::poll(ends.data(), ends.size(), -1) < 0) continue;  // a signal: stop() is asked again
    for (std::size_t i = ends.size(); i-- > 0;) {
      if (ends[i].revents == 0 || drain(running[i])) continue;
      Worker ended = std::move(running[i]);
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
      done(ended.index, finish(ended));
    }
  }
}

}  // namespace orrery
