#include <chrono>
#include <string>

#include <fmt/format.h>
#include <unistd.h>

#include "report/text.hpp"
#include "report/writers.hpp"

namespace orrery {

namespace {
using Clock = std::chrono::steady_clock;
constexpr auto kQuiet = std::chrono::seconds(1);
constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr std::uint64_t kEventsPerLook = 1024;  // reading the clock costs more than an event
}  // namespace

struct Progress::Impl {
  void event(Ps now) {
    if (!on_terminal || ++events % kEventsPerLook != 0) return;
    const auto time = Clock::now();
    if (time - started < kQuiet || time - drawn < kRedraw) return;
    drawn = time;
    draw(now);
  }

  void draw(Ps now) {
    constexpr int kCells = 24;
    std::string line = "\r\033[K";
    if (total > 0) {
      const double share = static_cast<double>(done) / static_cast<double>(total);
      const int full = static_cast<int>(share * kCells);
      line +=
          fmt::format("[{}{}] {:3.0f} %  ", std::string(static_cast<std::size_t>(full), '#'),
                      std::string(static_cast<std::size_t>(std::max(0, kCells - full)), '.'), 100 * share);
    }
    const double wall = std::chrono::duration<double>(drawn - started).count();
    line += fmt::format("{} requests, {} simulated, {} req per second of wall time", grouped(done),
                        duration_text(to_seconds(now).value), grouped(static_cast<double>(done) / wall, 0));
    put(line);
    visible = true;
  }

  void put(const std::string& text) const {
    // A progress bar that cannot be drawn is no reason to stop.
    [[maybe_unused]] const auto n = ::write(fd, text.data(), text.size());
  }

  std::int64_t total = -1, done = 0;
  int fd = 2;
  bool on_terminal = false, visible = false;
  std::uint64_t events = 0;
  Clock::time_point started = Clock::now(), drawn = started;
};

Progress::Progress(std::int64_t total, int fd) : impl_(std::make_unique<Impl>()) {
  impl_->total = total;
  impl_->fd = fd;
  impl_->on_terminal = ::isatty(fd) == 1;
}
Progress::~Progress() {
  if (impl_->visible) impl_->put("\r\033[K");
}

void Progress::on_decode_run(const DecodeRun& run) {
  impl_->event(run.start);
}
void Progress::on_mixed_step(const MixedStep& step) {
  impl_->event(step.start);
}
void Progress::on_request_done(const RequestRecord& record) {
  ++impl_->done;
  impl_->event(record.done);
}
void Progress::on_end(Ps) {
  if (impl_->visible) impl_->put("\r\033[K");
  impl_->visible = false;
}

}  // namespace orrery
