#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace orrery {

/// Bytes in order, decompressed.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  /// Fills up to `capacity` bytes; 0 at the end. Errors: ConfigError when the disk or the compression fails.
  virtual std::size_t read(char* to, std::size_t capacity) = 0;
};
using ByteStreamPtr = std::unique_ptr<ByteStream>;

/// A file or a piece of memory that can be read from its start any number of times.
class ByteSource {
 public:
  static ByteSource file(std::string path);
  /// `bytes` must outlive the source; `name` stands for the path in messages.
  static ByteSource memory(std::string_view bytes, std::string name);

  /// Opens at the start. gzip and zstd are recognised by their first bytes, whatever the name says.
  /// Errors: ConfigError when the file cannot be read.
  ByteStreamPtr open() const;
  /// Up to `bytes` decompressed bytes from the start.
  std::string head(std::size_t bytes) const;
  const std::string& name() const { return name_; }

 private:
  std::string name_;
  std::string_view bytes_;
  bool in_memory_ = false;
};

}  // namespace orrery
