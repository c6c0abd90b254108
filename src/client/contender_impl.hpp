// What `Contender` is made of: one contender for one key at one server, over one channel.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>

#include <dflockd/contender.hpp>
#include <dflockd/detail/wire.hpp>

#include "client/cancellation.hpp"
#include "client/channel.hpp"
#include "client/failure.hpp"
#include "client/process.hpp"
#include "client/renewer.hpp"

namespace dflockd {

/// What every function of `Contender` does, with failures thrown as `Failure`.
///
/// The call that has the turn (`busy_`) owns the channel and may change the rest. `mutex_` guards
/// the moments in which other calls look; it is never held while a call waits for the network.
class Contender::Impl {
 public:
  /// What a turn is wanted for.
  enum class For : std::uint8_t { kContending, kUsing, kReleasing, kClosing };

  /// Checks `options`. `limit` is 0 for a lock. Throws `Failure` (`errc::invalid_argument`).
  Impl(LockOptions options, int limit);

  bool acquire(std::chrono::milliseconds timeout, const std::stop_token& stop);
  void acquire_without_timeout();
  EnqueueStatus enqueue(const std::stop_token& stop);
  bool wait(std::chrono::milliseconds timeout, const std::stop_token& stop);
  void release(const std::stop_token& stop, For purpose = For::kReleasing);
  void close() noexcept;
  /// Closes, and waits for `on_renew_error`.
  void finish() noexcept;
  /// Closes the descriptor and nothing else.
  void close_in_child() noexcept;

  [[nodiscard]] std::shared_ptr<client::Renewal> renewal() const {
    if (!is_ours()) return nullptr;
    const std::lock_guard guard(mutex_);
    return renewal_;
  }
  [[nodiscard]] const LockOptions& options() const noexcept { return options_; }
  [[nodiscard]] const std::string& server() const noexcept { return connection_options_.server; }
  /// Runs `call`, with what it was for in the message of what it throws.
  template <class Call>
  auto report(const char* action, const Call& call) const {
    return client::report_failure(server(), action, options_.key, call);
  }
  /// False in a child of the process that made it.
  [[nodiscard]] bool is_ours() const noexcept { return generation_ == client::fork_generation(); }

 private:
  class Turn;
  /// The answer to a request, and when it was sent: a lease that it grants begins no earlier.
  struct Answer {
    std::string_view line;
    client::Clock::time_point asked;
  };
  /// Whether a request may be sent again over a new connection if an idle one turns out to have
  /// ended.
  enum class Again : std::uint8_t { kYes, kNo };

  [[nodiscard]] detail::Target target() const { return {.key = options_.key, .limit = limit_}; }
  [[nodiscard]] bool is_in_use() const { return enqueued_ || renewal_ != nullptr; }
  /// Whether something is in use that was not lost.
  [[nodiscard]] bool is_in_use_again() const {
    return enqueued_ || (renewal_ != nullptr && !renewal_->is_lost(client::Clock::now()));
  }
  [[nodiscard]] bool was_lost_by(std::thread::id thread) const {
    return renewal_ != nullptr && user_ == thread && renewal_->is_lost(client::Clock::now());
  }
  [[nodiscard]] client::Clock::time_point response_deadline(
      std::chrono::milliseconds beyond = {}) const {
    return client::later(client::later(client::Clock::now(), beyond), options_.response_timeout);
  }

  bool contend(Turn& turn, std::chrono::seconds server_timeout, client::Clock::time_point cut_off);
  bool wait_for_grant(Turn& turn, const std::string& request, std::chrono::seconds server_timeout,
                      client::Clock::time_point cut_off, Again again);
  void take(Turn& turn, Grant grant, client::Clock::time_point asked);
  void confirm(Turn& turn, Grant& grant, client::Clock::time_point& begun);
  void keep(Grant grant, client::Clock::time_point begun);
  static void refuse_in_handler();
  void note_loss();
  void forget_lost();
  void release_grant(Turn& turn, const std::shared_ptr<client::Renewal>& renewal);
  void end_lost(const std::shared_ptr<client::Renewal>& lost);
  void release_token(const client::Limits& limits, const std::string& token);
  void abandon_place(Turn& turn);

  Answer ask(const client::Limits& limits, const std::string& request, Again again);
  void connect(const client::Limits& limits, std::chrono::milliseconds timeout);
  void disconnect() noexcept;
  void give_up() noexcept;
  void give_back(const std::string& token) noexcept;

  const LockOptions options_;
  const int limit_;  ///< 0 for a lock
  const client::Endpoint endpoint_;
  const ConnectionOptions connection_options_;
  const unsigned generation_;

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;  ///< when a turn ends, and when it is closed
  bool busy_ = false;
  unsigned closings_ = 0;
  unsigned closers_ = 0;                      ///< calls of `close` under way
  client::Cancellation* running_ = nullptr;   ///< of the call that has the turn
  std::thread::id user_;                      ///< the thread that acquired last
  std::shared_ptr<client::Renewal> renewal_;  ///< while held, and once lost until it is released
  bool enqueued_ = false;                     ///< has a place in the queue

  std::optional<client::Channel> channel_;
  std::shared_ptr<client::Peer> peer_;  ///< the other end of the channel
  std::shared_ptr<client::Lane> lane_;  ///< null until it has first connected
  const std::shared_ptr<client::Reports> reports_ = std::make_shared<client::Reports>();
  client::Clock::time_point last_used_;  ///< the channel
};

}  // namespace dflockd
