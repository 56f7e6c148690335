#include "workload/line_reader.hpp"

#include <algorithm>

namespace orrery {
namespace {
constexpr std::size_t kBlock = 1 << 18;  // stays in the L2 cache
constexpr std::size_t kLongestLine = 64 << 20;
constexpr std::size_t kLongestExcerpt = 160;
}  // namespace

std::string printable(std::string_view text) {
  std::string out(text);
  std::replace_if(
      out.begin(), out.end(), [](unsigned char c) { return c < 0x20 || c > 0x7e; }, '?');
  return out;
}

LineReader::LineReader(ByteStreamPtr stream, std::string name)
    : stream_(std::move(stream)), name_(std::move(name)), buffer_(kBlock) {
  refill();
  constexpr std::string_view bom = "\xef\xbb\xbf";
  if (std::string_view(buffer_.data(), std::min(end_, bom.size())) == bom) begin_ = bom.size();
}

bool LineReader::refill() {
  if (ended_) return false;
  if (begin_ > 0) {
    std::copy(buffer_.begin() + static_cast<long>(begin_), buffer_.begin() + static_cast<long>(end_),
              buffer_.begin());
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == buffer_.size()) {
    if (end_ >= kLongestLine) {
      throw ConfigError("a line is longer than 64 MiB: this is not a trace of one request per line",
                        "a JSON array in one line is read with --format sharegpt")
          .at(name_, number_ + 1);
    }
    buffer_.resize(2 * buffer_.size());
  }
  const std::size_t n = stream_->read(buffer_.data() + end_, buffer_.size() - end_);
  end_ += n;
  ended_ = n == 0;
  return n > 0;
}

void LineReader::bad_row(std::string_view line, std::size_t column, const std::string& message,
                         const std::string& hint) const {
  BadRow error(message, hint.empty() ? "leave out rows that cannot be read with --on-bad-row skip" : hint);
  const bool shown = column <= kLongestExcerpt;
  error.at(name_, number_, static_cast<long>(column),
           shown ? printable(line.substr(0, kLongestExcerpt)) : "");
  throw error;
}

}  // namespace orrery
