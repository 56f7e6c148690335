#include "file_server.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.hpp"

namespace orrery {

namespace {

constexpr int kPollMs = 200;
constexpr int kPatienceS = 5;  // with a connection that says nothing

bool send_all(int connection, const char* data, std::size_t size) {
  while (size > 0) {
    const auto n = ::send(connection, data, size, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    data += n, size -= static_cast<std::size_t>(n);
  }
  return true;
}

bool send_all(int connection, const std::string& text) {
  return send_all(connection, text.data(), text.size());
}

/// The head of a request; what came until then where it is longer than any of a browser's.
std::string read_head(int connection) {
  std::string head;
  char chunk[4096];
  while (head.find("\r\n\r\n") == std::string::npos && head.size() < 65536) {
    const auto n = ::recv(connection, chunk, sizeof chunk, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    head.append(chunk, static_cast<std::size_t>(n));
  }
  return head;
}

std::string error_text() {
  return std::strerror(errno);
}

}  // namespace

FileServer::FileServer(std::string file, std::string origin, std::uint16_t port)
    : file_(std::move(file)),
      name_(file_.substr(file_.find_last_of('/') + 1)),
      origin_(std::move(origin)),
      port_(port) {
  if (!std::ifstream(file_)) throw ConfigError(fmt::format("cannot read {}: {}", file_, error_text()));
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener_ < 0) throw ConfigError("cannot open a socket: " + error_text());
  const int on = 1;
  ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener_, generic, size) != 0 || ::listen(listener_, 8) != 0) {
    const std::string why = error_text();
    ::close(listener_);
    throw ConfigError(fmt::format("cannot listen on 127.0.0.1:{}: {}", port, why),
                      "end what listens there, perhaps another timeline");
  }
  ::getsockname(listener_, generic, &size);
  port_ = ntohs(address.sin_port);
}

FileServer::~FileServer() {
  ::close(listener_);
}

std::string FileServer::url() const {
  return fmt::format("http://127.0.0.1:{}/{}", port_, name_);
}

bool FileServer::serve(const std::atomic<bool>& stop) {
  while (!stop) {
    pollfd waiting{listener_, POLLIN, 0};
    if (::poll(&waiting, 1, kPollMs) <= 0) continue;
    const int connection = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    const timeval patience{kPatienceS, 0};
    ::setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const bool fetched = answer(connection);
    ::close(connection);
    if (fetched) return true;
  }
  return false;
}

bool FileServer::answer(int connection) const {
  const std::string head = read_head(connection);
  if (head.rfind("OPTIONS ", 0) == 0) {  // a browser asks first whether a public page may reach this machine
    send_all(connection,
             fmt::format("HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: {}\r\n"
                         "Access-Control-Allow-Methods: GET\r\nAccess-Control-Allow-Headers: *\r\n"
                         "Access-Control-Allow-Private-Network: true\r\nConnection: close\r\n\r\n",
                         origin_));
    return false;
  }
  if (head.rfind("GET /" + name_ + " ", 0) == 0) return send_file(connection);
  send_all(connection, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  return false;
}

bool FileServer::send_file(int connection) const {
  std::ifstream in(file_, std::ios::binary | std::ios::ate);
  const auto size = static_cast<std::int64_t>(in.tellg());
  in.seekg(0);
  if (!in || !send_all(connection, fmt::format("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                                               "Content-Length: {}\r\nAccess-Control-Allow-Origin: {}\r\n"
                                               "Cache-Control: no-cache\r\nConnection: close\r\n\r\n",
                                               size, origin_))) {
    return false;
  }
  std::string chunk(1 << 18, '\0');
  while (in.read(chunk.data(), static_cast<std::streamsize>(chunk.size())) || in.gcount() > 0) {
    if (!send_all(connection, chunk.data(), static_cast<std::size_t>(in.gcount()))) return false;
  }
  return true;
}

}  // namespace orrery
