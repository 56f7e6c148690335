#include "workload/byte_stream.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/error.hpp"

namespace orrery {
namespace {

constexpr std::size_t kBlock = 1 << 18;

class FileStream : public ByteStream {
 public:
  explicit FileStream(const std::string& path)
      : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) throw ConfigError("cannot read '" + path + "': " + std::strerror(errno)).at(path);
    struct stat info {};
    if (::fstat(fd_, &info) == 0 && S_ISDIR(info.st_mode)) {
      ::close(fd_);
      throw ConfigError("'" + path + "' is a folder, not a trace file").at(path);
    }
    ::posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  ~FileStream() override { ::close(fd_); }
  FileStream(const FileStream&) = delete;
  FileStream& operator=(const FileStream&) = delete;

  std::size_t read(char* to, std::size_t capacity) override {
    for (;;) {
      const ssize_t n = ::read(fd_, to, capacity);
      if (n >= 0) return static_cast<std::size_t>(n);
      if (errno != EINTR) throw ConfigError("cannot read '" + path_ + "': " + std::strerror(errno)).at(path_);
    }
  }

 private:
  std::string path_;
  int fd_;
};

class MemoryStream : public ByteStream {
 public:
  explicit MemoryStream(std::string_view bytes) : rest_(bytes) {}
  std::size_t read(char* to, std::size_t capacity) override {
    const std::size_t n = std::min(capacity, rest_.size());
    std::copy_n(rest_.data(), n, to);
    rest_.remove_prefix(n);
    return n;
  }

 private:
  std::string_view rest_;
};

[[noreturn]] void broken(const std::string& name, const char* codec, bool truncated) {
  if (truncated) {
    throw ConfigError(std::string("the ") + codec + " data ends too early: the file is truncated",
                      "download or compress it again")
        .at(name);
  }
  throw ConfigError(std::string("the ") + codec + " data is corrupt", "download or compress it again")
      .at(name);
}

class GzipStream : public ByteStream {
 public:
  GzipStream(ByteStreamPtr from, std::string name)
      : from_(std::move(from)), name_(std::move(name)), in_(kBlock) {
    ORRERY_CHECK(inflateInit2(&z_, 15 + 16) == Z_OK, "zlib has no memory");
  }
  ~GzipStream() override { inflateEnd(&z_); }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;

  std::size_t read(char* to, std::size_t capacity) override {
    capacity = std::min<std::size_t>(capacity, 1u << 30);
    z_.next_out = reinterpret_cast<Bytef*>(to);
    z_.avail_out = static_cast<uInt>(capacity);
    while (z_.avail_out == capacity && refill()) {
      if (member_done_) {  // gzip files may be concatenated
        inflateReset(&z_);
        member_done_ = false;
      }
      const int rc = inflate(&z_, Z_NO_FLUSH);
      if (rc == Z_STREAM_END) {
        member_done_ = true;
      } else if (rc != Z_OK && rc != Z_BUF_ERROR) {
        broken(name_, "gzip", false);
      }
    }
    return capacity - z_.avail_out;
  }

 private:
  /// Whether there is input; false only after the last complete member.
  bool refill() {
    if (z_.avail_in > 0) return true;
    z_.next_in = reinterpret_cast<Bytef*>(in_.data());
    z_.avail_in = static_cast<uInt>(from_->read(in_.data(), in_.size()));
    if (z_.avail_in == 0 && !member_done_) broken(name_, "gzip", true);
    return z_.avail_in > 0;
  }

  ByteStreamPtr from_;
  std::string name_;
  std::vector<char> in_;
  z_stream z_{};
  bool member_done_ = false;
};

class ZstdStream : public ByteStream {
 public:
  ZstdStream(ByteStreamPtr from, std::string name)
      : from_(std::move(from)), name_(std::move(name)), in_(kBlock), z_(ZSTD_createDStream()) {
    ORRERY_CHECK(z_ != nullptr, "zstd has no memory");
  }
  ~ZstdStream() override { ZSTD_freeDStream(z_); }
  ZstdStream(const ZstdStream&) = delete;
  ZstdStream& operator=(const ZstdStream&) = delete;

  std::size_t read(char* to, std::size_t capacity) override {
    ZSTD_outBuffer out{to, capacity, 0};
    while (out.pos == 0) {
      if (buffer_.pos == buffer_.size && !full_output_) {
        buffer_ = {in_.data(), from_->read(in_.data(), in_.size()), 0};
        if (buffer_.size == 0) {
          if (!frame_done_) broken(name_, "zstd", true);
          return 0;
        }
      }
      const std::size_t rc = ZSTD_decompressStream(z_, &out, &buffer_);
      if (ZSTD_isError(rc)) broken(name_, "zstd", false);
      frame_done_ = rc == 0;
      full_output_ = out.pos == capacity && !frame_done_;  // more may be waiting inside the decoder
    }
    return out.pos;
  }

 private:
  ByteStreamPtr from_;
  std::string name_;
  std::vector<char> in_;
  ZSTD_DStream* z_;
  ZSTD_inBuffer buffer_{nullptr, 0, 0};
  bool frame_done_ = false, full_output_ = false;
};

bool starts_with_bytes(const ByteStreamPtr& raw, std::string_view magic) {
  char first[4] = {};
  const std::size_t n = raw->read(first, magic.size());
  return std::string_view(first, n) == magic;
}

}  // namespace

ByteSource ByteSource::file(std::string path) {
  ByteSource s;
  s.name_ = std::move(path);
  return s;
}

ByteSource ByteSource::memory(std::string_view bytes, std::string name) {
  ByteSource s;
  s.name_ = std::move(name);
  s.bytes_ = bytes;
  s.in_memory_ = true;
  return s;
}

ByteStreamPtr ByteSource::open() const {
  const auto raw = [this]() -> ByteStreamPtr {
    if (in_memory_) return std::make_unique<MemoryStream>(bytes_);
    return std::make_unique<FileStream>(name_);
  };
  if (starts_with_bytes(raw(), "\x1f\x8b")) return std::make_unique<GzipStream>(raw(), name_);
  if (starts_with_bytes(raw(), "\x28\xb5\x2f\xfd")) return std::make_unique<ZstdStream>(raw(), name_);
  return raw();
}

std::string ByteSource::head(std::size_t bytes) const {
  const auto stream = open();
  std::string text;
  while (text.size() < bytes) {
    const std::size_t before = text.size();
    text.resize(std::min(bytes, before + (64 << 10)));
    const std::size_t n = stream->read(text.data() + before, text.size() - before);
    text.resize(before + n);
    if (n == 0) break;
  }
  return text;
}

}  // namespace orrery
