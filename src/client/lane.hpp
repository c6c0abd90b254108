// The renewals of all grants at one server, over one connection.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <dflockd/options.hpp>

#include "client/arguments.hpp"
#include "client/process.hpp"
#include "client/renewal.hpp"

namespace dflockd::client {

/// All of it runs on the renewer's thread. Retries a failed renewal over a new connection for as
/// long as the renewer wants it: at once, then after growing pauses of up to a second.
class Lane : public std::enable_shared_from_this<Lane> {
 public:
  Lane(asio::io_context& io, RenewalSink& sink, Endpoint endpoint, ConnectionOptions options);
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  [[nodiscard]] const Endpoint& endpoint() const noexcept { return endpoint_; }

  /// Renews these soon.
  void renew(std::vector<std::shared_ptr<Renewal>> renewals);

 private:
  using Renewals = std::deque<std::shared_ptr<Renewal>>;
  class Link;

  asio::awaitable<void> run();
  /// `fresh`: over a new connection.
  asio::awaitable<void> attempt(bool fresh);
  asio::awaitable<void> send_batch();
  asio::awaitable<void> receive_batch(bool fresh);
  asio::awaitable<void> connect();
  void drop_unwanted();
  /// Cuts the link if what is under way takes longer than `length`.
  void limit(std::chrono::milliseconds length);
  void hurry();
  [[nodiscard]] std::chrono::milliseconds patience() const;

  asio::io_context& io_;
  RenewalSink& sink_;
  const Endpoint endpoint_;
  const ConnectionOptions options_;
  Renewals due_;
  Renewals sent_;  ///< whose answers are outstanding, in their order
  Clock::time_point sent_at_;
  std::unique_ptr<Link> link_;
  asio::steady_timer watchdog_;
  bool running_ = false;
  bool pausing_ = false;  ///< after a failure, on the watchdog
  std::string request_;
};

}  // namespace dflockd::client
