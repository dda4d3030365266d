#pragma once

// A socket that speaks just enough HTTP to say anything, well-formed or not, and to read the
// answer. It gives up after ten seconds, so that a server that never answers is a failed test and
// not a hanging one.

#include <arpa/inet.h>
#include <cctype>
#include <cstdlib>
#include <fmt/format.h>
#include <map>
#include <netinet/in.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/fd.h"

namespace bulla {

struct RawHttpAnswer {
  int status = 0;                              // 0: the connection ended before an answer did
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

class RawHttpClient {
 public:
  // `address` is HOST:PORT with an IPv4 address, or the absolute path of a Unix socket; `from`, the
  // address of this end, where it matters.
  explicit RawHttpClient(const std::string& address, const std::string& from = {}) {
    if (address.starts_with('/')) {
      sockaddr_un to{};
      to.sun_family = AF_UNIX;
      address.copy(to.sun_path, sizeof to.sun_path - 1);
      Connect(to);
      return;
    }
    std::size_t colon = address.rfind(':');
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(std::atoi(address.c_str() + colon + 1)));
    ::inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr);
    Connect(to, from);
  }

  bool connected() const { return connected_; }

  // False when the server no longer takes bytes.
  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  void HalfClose() { ::shutdown(fd_.get(), SHUT_WR); }

  // `no_body` for the answer to HEAD.
  RawHttpAnswer Read(bool no_body = false) {
    RawHttpAnswer answer;
    std::size_t end;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (!Fill()) return answer;
    }
    std::string head = buffer_.substr(0, end + 2);
    buffer_.erase(0, end + 4);
    std::size_t line = head.find("\r\n");
    int status = std::atoi(head.c_str() + 9);
    for (std::size_t at = line + 2; at < head.size();) {
      std::size_t next = head.find("\r\n", at);
      std::size_t colon = head.find(": ", at);
      std::string name = head.substr(at, colon - at);
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      answer.headers[name] = head.substr(colon + 2, next - colon - 2);
      at = next + 2;
    }
    auto length = static_cast<std::size_t>(std::atoll(answer.headers["content-length"].c_str()));
    if (no_body) length = 0;
    while (buffer_.size() < length) {
      if (!Fill()) return answer;
    }
    answer.body = buffer_.substr(0, length);
    buffer_.erase(0, length);
    answer.status = status;
    return answer;
  }

  // True when the server has closed the connection, with nothing left to read.
  bool ReadsEnd() { return buffer_.empty() && !Fill() && ended_; }

  RawHttpAnswer Get(std::string_view path) {
    Send(fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", path));
    return Read();
  }
  // `headers` are whole lines, each with its CRLF.
  RawHttpAnswer Post(std::string_view path, std::string_view body, std::string_view headers = {}) {
    Send(PostText(path, body, headers));
    return Read();
  }
  static std::string PostText(std::string_view path, std::string_view body,
                              std::string_view headers = {}) {
    return fmt::format(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{}"
        "Content-Length: {}\r\n\r\n{}",
        path, headers, body.size(), body);
  }

 private:
  template <typename SocketAddress>
  void Connect(const SocketAddress& to, const std::string& from = {}) {
    const auto* generic = reinterpret_cast<const sockaddr*>(&to);
    fd_ = UniqueFd(::socket(generic->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    timeval patience{10, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (!from.empty()) {
      sockaddr_in own{};
      own.sin_family = AF_INET;
      ::inet_pton(AF_INET, from.c_str(), &own.sin_addr);
      if (::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0) return;
    }
    connected_ = ::connect(fd_.get(), generic, sizeof to) == 0;
  }

  bool Fill() {
    char bytes[65536];
    ssize_t got = ::recv(fd_.get(), bytes, sizeof bytes, 0);
    ended_ = got == 0;
    if (got <= 0) return false;
    buffer_.append(bytes, static_cast<std::size_t>(got));
    return true;
  }

  UniqueFd fd_;
  bool connected_ = false;
  bool ended_ = false;
  std::string buffer_;
};

}  // namespace bulla
