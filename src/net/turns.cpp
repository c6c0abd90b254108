#include "net/turns.hpp"

#include <asio/post.hpp>

namespace dflockd::net {

/// When everybody whose socket is ready has been served.
void Turns::give_later() {
  asio::post(context_, [this] { give(); });
}

void Turns::give() {
  const auto end = std::chrono::steady_clock::now() + kSlice;
  giving_ = true;
  do {
    const std::unique_ptr<Waiting> next = std::move(waiting_.front());
    waiting_.pop_front();
    next->resume();
  } while (!waiting_.empty() && std::chrono::steady_clock::now() < end);
  giving_ = false;
  if (!waiting_.empty()) give_later();
}

}  // namespace dflockd::net
