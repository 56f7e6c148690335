#pragma once

#include <string>
#include <vector>

#include "workload/byte_stream.hpp"

namespace orrery {

/// The objects of a top-level JSON array, one at a time as text, so that a file of any size is read with the
/// memory of its largest element. Only brackets and strings are understood here; the text is for a real
/// parser.
class JsonArrayReader {
 public:
  JsonArrayReader(ByteStreamPtr stream, std::string name);

  /// Errors: ConfigError when the text is no array of objects, or ends before the array does.
  bool next(std::string& object);
  long line() const { return line_; }  ///< on which the object last given begins
  const std::string& name() const { return name_; }

 private:
  int get();         ///< the next byte, -1 at the end
  int get_filled();  ///< the next byte that is no blank
  [[noreturn]] void fail(const std::string& message) const;

  ByteStreamPtr stream_;
  std::string name_;
  std::vector<char> buffer_;
  std::size_t at_ = 0, end_ = 0;
  long current_line_ = 1, line_ = 0;
  bool started_ = false, ended_ = false;
};

}  // namespace orrery
