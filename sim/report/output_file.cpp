#include "report/output_file.hpp"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/error.hpp"

namespace orrery {

OutputFile::OutputFile(std::string path, std::size_t buffer_bytes) : path_(std::move(path)) {
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) fail(errno, "create");
  buffer_.resize(buffer_bytes);
}

OutputFile::~OutputFile() {
  try {
    close();
  } catch (const ConfigError&) {  // close() tells those who ask
  }
}

void OutputFile::write(std::string_view bytes) {
  std::memcpy(reserve(bytes.size()), bytes.data(), bytes.size());
  used_ += bytes.size();
}

char* OutputFile::reserve(std::size_t bytes) {
  if (used_ + bytes > buffer_.size()) {
    flush();
    if (bytes > buffer_.size()) buffer_.resize(bytes);
  }
  return buffer_.data() + used_;
}

void OutputFile::flush() {
  if (fd_ < 0) fail(EBADF, "write");
  std::size_t written = 0;
  while (written < used_) {
    const auto n = ::write(fd_, buffer_.data() + written, used_ - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      used_ = 0;  // not tried again by the destructor
      fail(error, "write");
    }
    written += static_cast<std::size_t>(n);
  }
  flushed_ += used_;
  used_ = 0;
}

void OutputFile::close() {
  if (fd_ < 0) return;
  const int fd = fd_;
  try {
    flush();
  } catch (...) {
    ::close(fd);
    fd_ = -1;
    throw;
  }
  fd_ = -1;
  if (::close(fd) != 0) fail(errno, "write");
}

void OutputFile::fail(int error, const char* action) {
  const std::string hint = error == ENOSPC ? "free some space or choose another folder with --out DIR"
                                           : "choose another folder with --out DIR, or --out none";
  throw ConfigError(fmt::format("cannot {} {}: {}", action, path_, std::strerror(error)), hint);
}

}  // namespace orrery
