#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace orrery {

/// A file being written through a large buffer, with every write checked: a full disk or a vanished folder is
/// a ConfigError naming the file, and what was written before stays.
class OutputFile {
 public:
  /// Errors: ConfigError when the file cannot be created.
  explicit OutputFile(std::string path, std::size_t buffer_bytes = 1 << 20);
  ~OutputFile();  ///< writes what is buffered, ignoring errors; call close() to learn of them
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::string_view bytes);
  /// Room for `bytes` more in the buffer; write there, then commit what was used.
  char* reserve(std::size_t bytes);
  void commit(const char* end) { used_ = static_cast<std::size_t>(end - buffer_.data()); }
  void flush();
  void close();  ///< flushes; idempotent

  const std::string& path() const { return path_; }
  std::size_t bytes_written() const { return flushed_ + used_; }

 private:
  [[noreturn]] void fail(int error, const char* action);

  std::string path_;
  std::string buffer_;
  std::size_t used_ = 0, flushed_ = 0;
  int fd_ = -1;
};

}  // namespace orrery
