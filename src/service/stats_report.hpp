// The answers to `stats`, made in slices so that a table of a million keys holds nobody up, and to
// `stat`.
#pragma once

#include <array>
#include <cstddef>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "service/service.hpp"

namespace dflockd::service {

/// One answer in the making. A table that fits one slice is read at one instant; a larger one in
/// slices, each at the instant at which it is read. Not thread-safe.
class StatsReport {
 public:
  /// How much is read at a time, about a millisecond's work: this many keys, or as many as give
  /// this many bytes.
  static constexpr std::size_t kSlice = 2048;
  static constexpr std::size_t kSliceBytes = 256UL * 1024;

  /// The reply in pieces, to be sent one after the other. Megabytes in one string would be copied
  /// each time that it grows.
  using Text = std::vector<std::string>;

  /// A report on `service`, which must outlive it. `connections` is what it says of connections.
  StatsReport(Service& service, std::size_t connections);

  /// Reads the next slice. False when there is nothing more to read.
  bool read_slice();

  /// The report, a JSON object and a line end. To be called once, after the last slice.
  [[nodiscard]] Text finish();

 private:
  /// The arrays, in their order in the object.
  enum Array : std::size_t { kLocks, kSemaphores, kIdleLocks, kIdleSemaphores, kArrays };

  void add(const locks::KeyInfo& key);
  std::back_insert_iterator<std::string> element_of(Array array);

  Service& service_;
  std::size_t cursor_ = 0;
  std::size_t full_pieces_ = 0;  ///< how many pieces are full, of all arrays
  /// Each array of the object, with what stands between it and the one before.
  std::array<Text, kArrays> arrays_;
};

/// All about one key, a JSON object: its holders and those who wait, the oldest first and at most
/// `kMostClaims` of each. Nothing if there is no such key.
[[nodiscard]] std::optional<std::string> stat_of(Service& service, const locks::Key& key);

inline constexpr std::size_t kMostClaims = 1000;

/// Seconds, to the millisecond: how reports say times.
[[nodiscard]] double in_seconds(locks::Instant time);

}  // namespace dflockd::service
