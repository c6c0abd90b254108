// The answers to `stats`, made in slices so that a table of a million keys holds nobody up, and to
// `stat`.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "service/service.hpp"

namespace dflockd::service {

/// Which keys a report is to tell of: of those whose names begin with `prefix` the first `limit` in
/// each array.
struct StatsQuery {
  /// What comes first: the largest, and of those that are alike the least name.
  enum class Order : std::uint8_t {
    kWaiters,     ///< how many wait
    kOldestWait,  ///< for how long the first has waited
    kHeld,        ///< for how long it has been held
    kKey,         ///< the name alone
  };
  static constexpr std::size_t kMostKeys = 10'000;

  Order order = Order::kWaiters;
  std::string prefix{};
  std::size_t limit = 100;  ///< at most `kMostKeys`

  friend bool operator==(const StatsQuery&, const StatsQuery&) = default;
};

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

  /// A report on `service`, which must outlive it, of all keys or those of `query`. `connections`
  /// is what it says of connections.
  StatsReport(Service& service, std::size_t connections, std::optional<StatsQuery> query = {});

  [[nodiscard]] const std::optional<StatsQuery>& query() const { return query_; }

  /// Reads the next slice. False when there is nothing more to read.
  bool read_slice();

  /// The report, a JSON object and a line end. To be called once, after the last slice.
  [[nodiscard]] Text finish();

 private:
  /// The arrays, in their order in the object.
  enum Array : std::size_t { kLocks, kSemaphores, kIdleLocks, kIdleSemaphores, kArrays };

  /// An element of an array, and what its place there goes by.
  struct Ranked {
    std::uint64_t rank;
    std::string name;
    std::string element;
  };

  [[nodiscard]] static bool comes_before(const Ranked& left, const Ranked& right);
  void add(const locks::KeyInfo& key);
  void rank(Array array, const locks::KeyInfo& key);
  bool arrange_slice();
  void write(std::string& out, const locks::KeyInfo& key) const;
  std::string& place_for_element(Array array);

  Service& service_;
  const std::optional<StatsQuery> query_;
  std::optional<std::size_t> cursor_ = 0;  ///< nothing once the table is read
  std::size_t written_ = 0;                ///< how many bytes, in all elements
  /// Each array of the object, with what stands between it and the one before.
  std::array<Text, kArrays> arrays_;

  // With a query.
  std::array<std::size_t, kArrays> totals_{};  ///< how many keys have the prefix
  /// The first ones of each array so far, as heaps with the last of them in front.
  std::array<std::vector<Ranked>, kArrays> ranked_;
  std::size_t arranging_ = 0;  ///< the array whose elements are put into their order
  std::size_t arranged_ = 0;   ///< how many of them have been
  bool sorted_ = false;        ///< whether `ranked_` has them in that order
};

/// All about one key, a JSON object: its holders and those who wait, the oldest first and at most
/// `kMostClaims` of each. Nothing if there is no such key.
[[nodiscard]] std::optional<std::string> stat_of(Service& service, const locks::Key& key);

inline constexpr std::size_t kMostClaims = 1000;

/// Seconds, to the millisecond: how reports say times.
[[nodiscard]] double in_seconds(locks::Instant time);

}  // namespace dflockd::service
