// What the lock service needs of the event loop: a timer and the disk.
//
// One a process; used from the loop's thread only. Whoever calls the service reads the clock once
// for each batch of requests; the requests of the batch all happen at that time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include <asio/posix/basic_stream_descriptor.hpp>

#include "base/loop_clock.hpp"
#include "fencing/fence_reserver.hpp"
#include "net/net.hpp"
#include "service/service.hpp"

namespace dflockd::server {

/// Where fences come from: a range to begin with, and who reserves more, or null if the range is
/// all there will ever be.
struct FenceSource {
  std::uint64_t first = 0;
  std::uint64_t end = 0;
  std::unique_ptr<fencing::FenceReserver> reserver;
};

class ServiceLoop final : private service::Host {
 public:
  /// `context` and `clock` must outlive the service; the context is run by one thread.
  ServiceLoop(asio::io_context& context, base::LoopClock& clock,
              const service::ServiceOptions& options, FenceSource fences);
  ~ServiceLoop();
  ServiceLoop(const ServiceLoop&) = delete;
  ServiceLoop& operator=(const ServiceLoop&) = delete;

  [[nodiscard]] service::Service& service() { return service_; }

  /// Ends the service's timer and its watch over reservations, so that the loop can end.
  void stop();

  /// Whether fences are being reserved: then the end of the service waits for the disk.
  [[nodiscard]] bool waits_for_disk() const { return reserver_ != nullptr && reserver_->busy(); }

 private:
  void set_timer(locks::Instant deadline) override;
  void reserve_fences(std::uint64_t count) override;
  net::Awaitable run_timer();
  net::Awaitable collect_reservations();

  base::LoopClock& clock_;
  net::BootTimer timer_;
  service::Service service_;
  bool stopped_ = false;
  std::unique_ptr<fencing::FenceReserver> reserver_;
  asio::posix::basic_stream_descriptor<net::Executor> reservation_ready_;
};

}  // namespace dflockd::server
