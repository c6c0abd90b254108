// Reserves fences in the background: an fsync(2) can take seconds on a busy disk, and the event
// loop must not wait for it.
//
//   FenceFile file = FenceFile::open(path, now);
//   table.reserve_fences(file.range().first, file.range().end);
//   FenceReserver reserver(std::move(file));
//   reserver.request(step);                              // when few fences are left
//   // ... poll reserver.notify_fd() for reading; when it is readable:
//   if (const auto result = reserver.take_result()) use(*result);
//
// One thread of its own writes the file; it sleeps while there is nothing to reserve, and has every
// signal blocked, so that signals go to the thread that handles them. All functions are for the one
// thread that owns the object, and none of them but the destructor waits for the disk.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <stop_token>
#include <system_error>
#include <thread>

#include "base/descriptor.hpp"
#include "fencing/fence_file.hpp"

namespace dflockd::fencing {

class FenceReserver {
 public:
  /// How a reservation ended.
  struct Result {
    std::error_code error;  ///< unset on success; else what `FenceFile::reserve` reported or threw
    std::uint64_t end = 0;  ///< fences below it may be granted; as before if there was an error
  };

  /// Starts the thread. Throws std::system_error if the system has no thread or descriptor to give.
  explicit FenceReserver(FenceFile file);
  FenceReserver(const FenceReserver&) = delete;
  FenceReserver& operator=(const FenceReserver&) = delete;
  /// Waits for the reservation asked for, if there is one, and releases the file.
  ~FenceReserver() = default;

  /// Asks for `step` (at least 1) more fences; see `FenceFile::reserve`. Does nothing while busy.
  void request(std::uint64_t step);

  /// True from a request until its result has been taken.
  [[nodiscard]] bool busy() const { return busy_; }

  /// A descriptor that is readable while a result waits to be taken: for poll(2) and the like only,
  /// to be neither read nor closed. Valid as long as this object.
  [[nodiscard]] int notify_fd() const { return notify_.get(); }

  /// The result of the latest request, once, when there is one.
  [[nodiscard]] std::optional<Result> take_result();

 private:
  void run(const std::stop_token& stop);
  [[nodiscard]] std::error_code reserve(std::uint64_t step) noexcept;

  bool busy_ = false;        ///< the owner's
  FenceFile file_;           ///< the background thread's
  base::Descriptor notify_;  ///< an eventfd(2), readable exactly while `result_` is set

  std::mutex mutex_;  ///< never held while the disk works
  std::condition_variable_any requested_changed_;
  std::uint64_t requested_ = 0;   ///< how many fences; guarded by `mutex_`
  std::optional<Result> result_;  ///< guarded by `mutex_`

  std::jthread thread_;  ///< last, so that it ends before what it uses
};

}  // namespace dflockd::fencing
