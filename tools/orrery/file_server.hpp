#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace orrery {

/// Offers one file over HTTP on 127.0.0.1, to pages of one origin: a viewer in a browser can then fetch what
/// lies on this machine, and nothing leaves it.
class FileServer {
 public:
  /// `port` 0 = any that is free. Errors: ConfigError when the port is taken or the file cannot be read.
  FileServer(std::string file, std::string origin, std::uint16_t port);
  ~FileServer();
  FileServer(const FileServer&) = delete;
  FileServer& operator=(const FileServer&) = delete;

  /// "http://127.0.0.1:9001/timeline.pftrace".
  std::string url() const;
  /// Answers until the file was fetched once, or `stop`. Whether it was fetched.
  bool serve(const std::atomic<bool>& stop);

 private:
  bool answer(int connection) const;
  bool send_file(int connection) const;

  std::string file_, name_, origin_;
  std::uint16_t port_;
  int listener_ = -1;
};

}  // namespace orrery
