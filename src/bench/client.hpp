// One connection of a load, whatever it does there. Runs on the thread of its io_context.
#pragma once

#include <system_error>

#include "bench/measurement.hpp"
#include "net/net.hpp"

namespace dflockd::bench {

class Client {
 public:
  Client() = default;
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  virtual ~Client() = default;

  /// Connects, blocking until that is done.
  virtual void connect(const asio::ip::tcp::endpoint& server, std::error_code& error) = 0;

  /// Does what comes before the load: the TLS handshake and the secret, if they are wanted. Throws
  /// `std::runtime_error` with one clear line if the server or its certificate does not agree.
  virtual net::Awaitable introduce() = 0;

  /// What TLS agreed on during `introduce`; empty without TLS.
  [[nodiscard]] virtual TlsAgreement agreed() const = 0;

  /// Puts the server under load until the measurement admits no more. Gives the error that ended it
  /// early, `asio::error::eof` if the server closed the connection; throws as `introduce` does. The
  /// client outlives what this returns.
  virtual net::AwaitableOf<std::error_code> run() = 0;

  /// Cuts short the hold time that is running, if one is.
  virtual void end_hold() = 0;

  /// Closes the connection, which ends `run` and `introduce`.
  virtual void close() = 0;
};

}  // namespace dflockd::bench
