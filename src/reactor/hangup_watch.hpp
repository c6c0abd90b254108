// Notices that peers leave, whatever their connections are doing: waiting for a lock, with requests
// still unread in front of the end of the stream, or not reading at all.
//
// asio does not ask epoll for EPOLLRDHUP, so this keeps a second epoll instance that asks for
// nothing else. Requests cost nothing here: a connection is added when it begins, and the kernel
// takes it out when its socket is closed. For the loop's thread only.
#pragma once

#include <asio/posix/basic_stream_descriptor.hpp>

#include "net/net.hpp"

namespace dflockd::reactor {

class Watched;

class HangupWatch {
 public:
  /// Throws std::system_error if the system has no descriptor to give.
  explicit HangupWatch(asio::io_context& context);

  /// Calls `connection.on_hangup()` when its peer has closed its sending side or the whole of the
  /// connection. `socket` is the connection's, which must live until the socket is closed. Throws
  /// std::system_error.
  void add(int socket, Watched& connection);

  /// Watches until `stop`.
  net::Awaitable run();
  void stop();

 private:
  void tell();

  asio::posix::basic_stream_descriptor<net::Executor> epoll_;
};

}  // namespace dflockd::reactor
