// Which replies may leave. The commands behind them are gathered in numbered batches, and a reply
// leaves once the batch with the last command that it can depend on is committed. With nothing to
// commit to, which is a server alone, that is at once.
//
//   batches.add_command();                     // the service, before it carries one out
//   if (batches.all_committed()) send(reply);  // whoever replies; else it waits with a `Waiter`
//   const std::uint64_t batch = batches.seal();
//   …
//   batches.commit(batch);                     // the log
//
// For the loop's thread only.
#pragma once

#include <cassert>
#include <cstdint>

#include "base/intrusive_list.hpp"

namespace dflockd::base {

class Batches {
 public:
  /// Waits until what was newest when it was made is committed; for no longer than it lives.
  class Waiter {
   public:
    explicit Waiter(Batches& batches) : batches_(batches), batch_(batches.newest_) {
      batches_.waiters_.push_back(*this);
    }
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;

    [[nodiscard]] bool over() const { return batch_ <= batches_.committed_; }

   protected:
    ~Waiter() { batches_.waiters_.remove(*this); }

   private:
    friend class Batches;

    /// It is over. Called from inside `commit`: takes note, and does not end here.
    virtual void on_committed() noexcept = 0;

    Batches& batches_;
    const std::uint64_t batch_;
    Links<Waiter> links_;
  };

  Batches() = default;
  Batches(const Batches&) = delete;
  Batches& operator=(const Batches&) = delete;

  /// The next command goes into the open batch.
  void add_command() { newest_ = open_; }

  /// Closes the open batch, if there is anything in it. Returns the number of the newest closed
  /// one; the first is 1.
  std::uint64_t seal() {
    if (newest_ == open_) ++open_;
    return newest_;
  }

  /// Everything up to the closed batch `batch` is committed. Calls those who waited for it, in the
  /// order in which they came.
  void commit(std::uint64_t batch) {
    assert(batch >= committed_ && batch < open_);
    committed_ = batch;
    for (Waiter* waiter = waiters_.front(); waiter != nullptr && waiter->over();
         waiter = waiters_.next(*waiter)) {
      waiter->on_committed();
    }
  }

  /// Whether a reply made now may leave.
  [[nodiscard]] bool all_committed() const { return committed_ == newest_; }

 private:
  std::uint64_t open_ = 1;
  std::uint64_t newest_ = 0;  ///< with a command in it
  std::uint64_t committed_ = 0;
  IntrusiveList<Waiter, &Waiter::links_> waiters_;
};

}  // namespace dflockd::base
