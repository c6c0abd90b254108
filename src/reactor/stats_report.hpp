// The answer to `stats`, made in slices so that a table of a million keys holds nobody up.
#pragma once

#include <array>
#include <cstddef>
#include <iterator>
#include <string>

#include "reactor/lock_service.hpp"

namespace dflockd::reactor {

/// One answer in the making. A table of up to `kSlice` keys is read at one instant; a larger one in
/// slices, each at the instant at which it is read. Not thread-safe.
class StatsReport {
 public:
  /// How many keys are read at a time: about a millisecond's work.
  static constexpr std::size_t kSlice = 2048;

  /// The JSON in pieces, to be sent one after the other: joining megabytes would take long.
  using Pieces = std::array<std::string, 4>;

  /// A report on `service`, which must outlive it. `connections` is what it says of connections.
  StatsReport(LockService& service, std::size_t connections);

  /// Reads the next slice. False when there is nothing more to read.
  bool read_slice();

  /// The reply, `ok` and a JSON object and a line end. To be called once, after the last slice.
  [[nodiscard]] Pieces finish();

 private:
  /// The arrays, in their order in the object.
  enum Array : std::size_t { kLocks, kSemaphores, kIdleLocks, kIdleSemaphores };

  void add(const locks::KeyInfo& key);
  std::back_insert_iterator<std::string> element_of(Array array);

  LockService& service_;
  std::size_t cursor_ = 0;
  /// One array of the object each, with what stands between it and the one before.
  Pieces pieces_;
};

}  // namespace dflockd::reactor
