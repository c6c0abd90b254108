// The lock table brought to life: the service core with a clock, a timer and a disk. Every door to
// the table goes through here.
//
// One a process; used from the loop's thread only. Callers read the clock once for each batch of
// requests with `refresh_clock`; the requests of the batch all happen at that time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include <asio/posix/basic_stream_descriptor.hpp>

#include "base/boot_clock.hpp"
#include "fencing/fence_reserver.hpp"
#include "net/net.hpp"
#include "reactor/service_core.hpp"

namespace dflockd::reactor {

/// Where fences come from: a range to begin with, and who reserves more, or null if the range is
/// all there will ever be.
struct FenceSource {
  std::uint64_t first = 0;
  std::uint64_t end = 0;
  std::unique_ptr<fencing::FenceReserver> reserver;
};

class LockService final : public ServiceCore {
 public:
  /// `context` must outlive the service, and be run by one thread.
  LockService(asio::io_context& context, const ServiceOptions& options, FenceSource fences);
  ~LockService() override;
  LockService(const LockService&) = delete;
  LockService& operator=(const LockService&) = delete;

  /// Reads the clock for the requests to come.
  void refresh_clock() {
    const locks::Instant last = now();
    set_now(base::BootClock::now().time_since_epoch());
    if (now() - last >= kMayHaveSlept) look_for_suspend();
  }

  /// The time of the current batch on the clock that stands still while the machine is suspended
  /// (std::chrono::steady_clock): by it are those judged who may have had no chance to speak.
  [[nodiscard]] locks::Instant awake_now() const { return now() - suspended_; }

  /// Ends the service's timer and its watch over reservations, so that the loop can end.
  void stop();

  /// Whether fences are being reserved: then the end of the service waits for the disk.
  [[nodiscard]] bool waits_for_disk() const { return reserver_ != nullptr && reserver_->busy(); }

 private:
  /// What is shorter goes unnoticed until there is such a pause, as there is whenever nobody
  /// speaks.
  static constexpr auto kMayHaveSlept = std::chrono::milliseconds(20);

  void look_for_suspend();
  void set_timer(locks::Instant deadline) override;
  void reserve_fences(std::uint64_t count) override;
  net::Awaitable run_timer();
  net::Awaitable collect_reservations();

  net::BootTimer timer_;
  locks::Instant suspended_{0};  ///< how long the machine was, since it started
  bool stopped_ = false;
  std::unique_ptr<fencing::FenceReserver> reserver_;
  asio::posix::basic_stream_descriptor<net::Executor> reservation_ready_;
};

}  // namespace dflockd::reactor
