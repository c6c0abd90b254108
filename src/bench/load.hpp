// Runs a load from the first connection to the last reply: connects, warms up, measures, drains.
//
//   Load load(options);
//   const Result& result = load.run();
//
// SIGINT and SIGTERM end the measurement early; a second one ends the process. Single use; it runs
// on the thread that calls it.
#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <time.h>

#include <asio/signal_set.hpp>

#include "bench/clients.hpp"
#include "bench/connection.hpp"
#include "bench/measurement.hpp"
#include "bench/options.hpp"
#include "bench/wire.hpp"
#include "net/net.hpp"

namespace dflockd::bench {

class Load {
 public:
  explicit Load(Options options);

  /// What was measured. Throws `std::runtime_error` with one clear line if the load cannot be
  /// started, or if the server goes away before the end.
  const Result& run();

 private:
  void connect();
  [[nodiscard]] std::unique_ptr<Client> make_client(std::size_t number);
  void introduce(Client& client);
  void start();
  net::Awaitable conduct();
  net::Awaitable wait_for_count();
  net::Awaitable show_progress();
  net::Awaitable sleep(std::chrono::nanoseconds duration);
  void begin_measuring();
  void end_measuring();
  void shut_down();
  void interrupt();
  void client_ended(const std::exception_ptr& thrown, std::error_code error);
  [[nodiscard]] std::string silence(std::chrono::seconds patience) const;
  void fail(const std::string& message);
  [[nodiscard]] std::chrono::nanoseconds server_cpu();

  const Options options_;
  const Wire wire_;
  const std::string server_;               ///< host and port, for messages
  std::optional<clockid_t> server_clock_;  ///< the CPU time of the server's process
  Measurement measurement_;
  std::optional<TlsContext> tls_;

  asio::io_context io_;
  asio::signal_set signals_;
  net::Timer phase_timer_;
  net::Timer progress_timer_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::size_t running_ = 0;  ///< clients that have not ended
  bool interrupted_ = false;
  std::chrono::nanoseconds server_cpu_at_begin_{0};
  std::string failure_;  ///< why the load ended too early; empty while all is well
};

}  // namespace dflockd::bench
