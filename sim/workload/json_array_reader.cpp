#include "workload/json_array_reader.hpp"

#include "base/error.hpp"

namespace orrery {

namespace {
constexpr std::size_t kLargestObject = 64 << 20;
}

JsonArrayReader::JsonArrayReader(ByteStreamPtr stream, std::string name)
    : stream_(std::move(stream)), name_(std::move(name)), buffer_(1 << 18) {}

int JsonArrayReader::get() {
  if (at_ == end_) {
    at_ = 0;
    end_ = stream_->read(buffer_.data(), buffer_.size());
    if (end_ == 0) return -1;
  }
  const char c = buffer_[at_++];
  if (c == '\n') ++current_line_;
  return static_cast<unsigned char>(c);
}

int JsonArrayReader::get_filled() {
  int c = get();
  while (c == ' ' || c == '\t' || c == '\r' || c == '\n') c = get();
  return c;
}

void JsonArrayReader::fail(const std::string& message) const {
  throw ConfigError(message).at(name_, current_line_);
}

bool JsonArrayReader::next(std::string& object) {
  if (ended_) return false;
  int c = get_filled();
  if (!started_) {
    if (c == 0xef && get() == 0xbb && get() == 0xbf) c = get_filled();
    if (c == -1) fail("the trace is empty");
    if (c != '[') fail("expected a JSON array of conversations");
    started_ = true;
    c = get_filled();
  } else if (c == ',') {
    c = get_filled();
  } else if (c != ']') {
    fail(c == -1 ? "the JSON array does not end: the file is truncated"
                 : "expected ',' or ']' after an object");
  }
  if (c == ']') {
    ended_ = true;
    if (get_filled() != -1) fail("text after the end of the JSON array");
    return false;
  }
  if (c == -1) fail("the JSON array does not end: the file is truncated");
  if (c != '{') fail("expected an object in the JSON array");

  line_ = current_line_;
  object.assign(1, '{');
  int depth = 1;
  bool in_string = false, escaped = false;
  while (depth > 0) {
    c = get();
    if (c == -1) fail("the JSON array does not end: the file is truncated");
    object += static_cast<char>(c);
    if (object.size() > kLargestObject) fail("a conversation is larger than 64 MiB");
    if (in_string) {
      if (!escaped && c == '"') in_string = false;
      escaped = !escaped && c == '\\';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return true;
}

}  // namespace orrery
