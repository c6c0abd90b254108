// The connections of a load and what each does there. Run on the thread of their io_context.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

#include "bench/connection.hpp"
#include "bench/measurement.hpp"
#include "bench/options.hpp"
#include "bench/wire.hpp"
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

/// Goes through cycles: a batch of acquires in one write, a reply to each, the hold time, the
/// releases of what was granted in one write, a reply to each. A client of the HTTP API has a
/// session of its own. Allocates nothing once it is introduced.
template <class Stream>
class LockClient final : public Client {
 public:
  /// `number` counts the clients of the load from 0. `tls` is null for plain text. `options`,
  /// `wire`, `measurement` and `tls` outlive the client. A client of HTTP makes a wire of its own
  /// when it is introduced.
  LockClient(asio::io_context& io, const TlsContext* tls, const Options& options, const Wire& wire,
             Measurement& measurement, std::size_t number);

  void connect(const asio::ip::tcp::endpoint& server, std::error_code& error) override;
  net::Awaitable introduce() override;
  [[nodiscard]] TlsAgreement agreed() const override { return connection_.agreed(); }
  net::AwaitableOf<std::error_code> run() override;
  void end_hold() override { hold_timer_.cancel(); }
  void close() override;

 private:
  enum class Step { kAcquire, kRelease };

  net::AwaitableOf<std::error_code> exchange(Step step, std::string_view requests,
                                             std::size_t replies);
  [[nodiscard]] std::size_t take_replies(Step step, std::size_t at_most);
  [[nodiscard]] bool take_reply(Step step, const Reply& reply);
  void speak(const Wire& wire);
  void end_session();
  void record(Step step, std::size_t succeeded);
  [[nodiscard]] std::string_view key(std::size_t slot) const;
  [[nodiscard]] std::string_view acquires(std::size_t cycles) const;

  const Options& options_;
  const Wire* wire_ = nullptr;
  std::unique_ptr<const Wire> own_wire_;  ///< with the session
  std::string session_;                   ///< its id; empty without one
  std::string goodbye_;                   ///< the request that ends it
  Measurement& measurement_;
  Connection<Stream> connection_;
  net::Timer hold_timer_;

  std::string keys_;      ///< the keys of all slots, one after the other
  std::string acquires_;  ///< the acquires of all slots; all are of the same size
  std::string releases_;  ///< the releases of what this batch was granted

  bool sending_ = false;     ///< a part of the requests is not sent
  std::size_t slot_ = 0;     ///< whose acquire is answered next
  std::size_t granted_ = 0;  ///< how many of this batch's acquires were granted
  TimePoint now_{};          ///< when the last replies arrived or the last hold ended
  TimePoint batch_sent_{};
  TimePoint step_sent_{};
};

/// Visits a TLS server again and again: a connection, a handshake, the secret and a ping if they
/// are wanted, and a goodbye that waits for the server's. A visit is over when the server has seen
/// all of it, so that no handshake is counted that only the client believes in.
class HandshakeClient final : public Client {
 public:
  /// `tls`, `options` and `measurement` outlive the client.
  HandshakeClient(asio::io_context& io, const TlsContext& tls, const Options& options,
                  Measurement& measurement);

  void connect(const asio::ip::tcp::endpoint& server, std::error_code& error) override;
  /// A visit that does not count.
  net::Awaitable introduce() override;
  [[nodiscard]] TlsAgreement agreed() const override { return connection_.agreed(); }
  net::AwaitableOf<std::error_code> run() override;
  void end_hold() override {}
  void close() override { connection_.close(); }

 private:
  net::Awaitable visit();

  const Options& options_;
  Measurement& measurement_;
  asio::ip::tcp::endpoint server_;
  Connection<net::TlsStream> connection_;
  TlsSession session_;      ///< what the next visit resumes; null unless that is wanted
  TimePoint handshaken_{};  ///< when the handshake of this visit was complete
};

}  // namespace dflockd::bench
