#include "net/turns.hpp"

#include <asio/post.hpp>

namespace dflockd::net {

/// When everybody whose socket is ready has been served.
void Turns::give_later() {
  asio::post(context_, [this] { give(); });
}

void Turns::give() {
  const auto end = std::chrono::steady_clock::now() + slice_;
  giving_ = true;
  do {
    auto& queue = ends_.empty() ? waiting_ : ends_;
    const std::unique_ptr<Waiting> next = std::move(queue.front());
    queue.pop_front();
    next->resume();
  } while (ends_.size() + waiting_.size() > 0 && std::chrono::steady_clock::now() < end);
  giving_ = false;
  if (ends_.size() + waiting_.size() > 0) give_later();
}

}  // namespace dflockd::net
