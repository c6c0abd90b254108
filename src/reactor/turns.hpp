// Lets one coroutine at a time do something long in pieces, so that many of them together hold
// nobody up longer than one. The others wait, first come first.
//
//   const Turns::Turn turn = co_await turns.take();   // until the end of its scope
//
// For the loop's thread only.
#pragma once

#include <deque>
#include <utility>

#include "reactor/net.hpp"

namespace dflockd::reactor {

class Turns {
 public:
  /// A turn; the next begins when it is destroyed.
  class Turn {
   public:
    explicit Turn(Turns& turns) : turns_(&turns) {}
    Turn(Turn&& other) noexcept : turns_(std::exchange(other.turns_, nullptr)) {}
    Turn& operator=(Turn&&) = delete;
    ~Turn() {
      if (turns_ != nullptr) turns_->pass_on();
    }

   private:
    Turns* turns_;
  };

  explicit Turns(asio::io_context& context) : executor_(context.get_executor()) {}

  /// Waits for the caller's turn.
  asio::awaitable<Turn, Executor> take() {
    if (std::exchange(taken_, true)) {
      Timer called(executor_, Timer::time_point::max());
      waiting_.push_back(&called);
      std::error_code canceled;
      co_await called.async_wait(into(canceled));
    }
    co_return Turn(*this);
  }

 private:
  void pass_on() {
    if (waiting_.empty()) {
      taken_ = false;
    } else {
      waiting_.front()->cancel();
      waiting_.pop_front();
    }
  }

  Executor executor_;
  std::deque<Timer*> waiting_;
  bool taken_ = false;
};

}  // namespace dflockd::reactor
