#pragma once

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "workload/byte_stream.hpp"

namespace orrery {

/// One row of a trace is wrong: the reader can go on with the next one.
class BadRow : public ConfigError {
 public:
  using ConfigError::ConfigError;
};

/// `text` with a '?' for each byte that is not printable ASCII: safe in a message, and columns stay true.
std::string printable(std::string_view text);

/// Lines of a stream, without their LF or CRLF; the last needs none. A UTF-8 byte-order mark is dropped. One
/// buffer, no allocation per line: a view is valid until the next call.
class LineReader {
 public:
  LineReader(ByteStreamPtr stream, std::string name);

  /// Errors: ConfigError from the stream, or when a line is longer than 64 MiB (not a text trace).
  bool next(std::string_view& line) {
    for (;;) {
      const char* start = buffer_.data() + begin_;
      if (const void* lf = std::memchr(start + seen_, '\n', end_ - begin_ - seen_)) {
        const auto length = static_cast<std::size_t>(static_cast<const char*>(lf) - start);
        begin_ += length + 1;
        return give(line, start, length);
      }
      seen_ = end_ - begin_;
      if (refill()) continue;
      if (begin_ == end_) return false;
      start = buffer_.data() + begin_;
      const std::size_t length = end_ - begin_;
      begin_ = end_;
      return give(line, start, length);
    }
  }
  /// Like next, leaving out lines that hold nothing but blanks.
  bool next_filled(std::string_view& line) {
    while (next(line)) {
      if (line.find_first_not_of(" \t") != std::string_view::npos) return true;
    }
    return false;
  }

  long number() const { return number_; }  ///< of the line last given, from 1
  const std::string& name() const { return name_; }

  /// Throws BadRow at a 1-based column of the line last given (0 = unknown).
  [[noreturn]] void bad_row(std::string_view line, std::size_t column, const std::string& message,
                            const std::string& hint = {}) const;

 private:
  bool give(std::string_view& line, const char* start, std::size_t length) {
    seen_ = 0;
    ++number_;
    if (length > 0 && start[length - 1] == '\r') --length;
    line = {start, length};
    return true;
  }
  bool refill();

  ByteStreamPtr stream_;
  std::string name_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0, end_ = 0;  ///< unread bytes of the buffer
  std::size_t seen_ = 0;             ///< of them, known to hold no line end
  long number_ = 0;
  bool ended_ = false;
};

}  // namespace orrery
