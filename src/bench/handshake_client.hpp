// Visits a TLS server again and again: a connection, a handshake, the secret and a ping if they are
// wanted, and a goodbye that waits for the server's. A visit is over when the server has seen all
// of it, so that no handshake is counted that only the client believes in.
#pragma once

#include "bench/client.hpp"
#include "bench/connection.hpp"
#include "bench/options.hpp"

namespace dflockd::bench {

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
