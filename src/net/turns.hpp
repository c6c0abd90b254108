// Turns of the loop, for a connection that has more to do than is fair at a time: handshakes,
// requests sent ahead, the end of a connection. They are given in the order in which they were
// asked for, but ends first, as others wait for what they free; a few milliseconds' worth at a
// time, with everybody else served in between.
//
//   co_await turns.next(net::kUseAwaitable);
//
// For the loop's thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>

#include <asio/async_result.hpp>

#include "net/net.hpp"

namespace dflockd::net {

class Turns {
 public:
  /// What a turn is for.
  enum class Kind : std::uint8_t { kEnd, kMore };

  /// For how long turns are given before everybody else is served: the last one ends later.
  static constexpr std::chrono::milliseconds kSlice{4};

  /// `context` must outlive the turns. Without a `slice` it is one turn at a time.
  explicit Turns(asio::io_context& context, std::chrono::milliseconds slice = kSlice)
      : context_(context), slice_(slice) {}

  /// Ends when it is the caller's turn; never at once.
  template <class Token>
  auto next(Token&& token, Kind kind = Kind::kMore) {
    return asio::async_initiate<Token, void()>(
        [this, kind](auto handler) {
          using Handler = decltype(handler);
          (kind == Kind::kEnd ? ends_ : waiting_)
              .push_back(std::make_unique<WaitingFor<Handler>>(std::move(handler)));
          if (ends_.size() + waiting_.size() == 1 && !giving_) give_later();
        },
        token);
  }

 private:
  struct Waiting {
    virtual ~Waiting() = default;
    virtual void resume() = 0;
  };
  template <class Handler>
  struct WaitingFor final : Waiting {
    explicit WaitingFor(Handler&& to_resume) : handler(std::move(to_resume)) {}
    void resume() override { std::move(handler)(); }
    Handler handler;
  };

  void give_later();
  void give();

  asio::io_context& context_;
  const std::chrono::milliseconds slice_;
  std::deque<std::unique_ptr<Waiting>> ends_;
  std::deque<std::unique_ptr<Waiting>> waiting_;
  bool giving_ = false;
};

}  // namespace dflockd::net
