#include "service/stats_report.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>

#include "base/json.hpp"

namespace dflockd::service {

namespace {

/// How many keys are read before it is looked at how much they gave.
constexpr std::size_t kStep = 64;

/// The size of a piece, and how much larger it may become: by a name whose every byte is escaped,
/// and the rest.
constexpr std::size_t kPiece = 64UL * 1024;
constexpr std::size_t kLongestElement = 2048;

/// Seconds, to the millisecond.
double seconds(locks::Instant time) {
  return std::chrono::duration<double>(std::chrono::floor<std::chrono::milliseconds>(time)).count();
}

}  // namespace

StatsReport::StatsReport(Service& service, std::size_t connections) : service_(service) {
  arrays_[kLocks] = {fmt::format(R"({{"connections":{},"locks":[)", connections)};
  arrays_[kSemaphores] = {R"(],"semaphores":[)"};
  arrays_[kIdleLocks] = {R"(],"idle_locks":[)"};
  arrays_[kIdleSemaphores] = {R"(],"idle_semaphores":[)"};
}

bool StatsReport::read_slice() {
  const std::size_t enough = cursor_ + kSlice;
  const std::size_t full_before = full_pieces_;
  while (cursor_ < enough && (full_pieces_ - full_before) * kPiece < kSliceBytes) {
    const auto next =
        service_.visit_keys(cursor_, kStep, [this](const locks::KeyInfo& key) { add(key); });
    if (!next) return false;
    cursor_ = *next;
  }
  return true;
}

void StatsReport::add(const locks::KeyInfo& key) {
  const bool is_lock = key.key.kind == locks::Kind::kLock;
  const std::string name = base::json_string(key.key.name);
  if (key.holders == 0) {
    fmt::format_to(element_of(is_lock ? kIdleLocks : kIdleSemaphores),
                   R"({{"key":{},"idle_s":{:.3f}}})", name, seconds(key.idle));
  } else if (is_lock) {
    const OwnerInfo& owner = service_.info(key.owner);
    fmt::format_to(element_of(kLocks),
                   R"({{"key":{},"owner_conn_id":{},"owner":"{}","held_s":{:.3f},)"
                   R"("lease_expires_in_s":{:.3f},"waiters":{}}})",
                   name, owner.connection_id, owner.peer, seconds(key.held),
                   seconds(key.lease_left), key.waiters);
  } else {
    fmt::format_to(element_of(kSemaphores), R"({{"key":{},"limit":{},"holders":{},"waiters":{}}})",
                   name, key.limit, key.holders, key.waiters);
  }
}

StatsReport::Text StatsReport::finish() {
  arrays_[kIdleSemaphores].back() += "]}\n";
  Text text;
  for (Text& pieces : arrays_) std::ranges::move(pieces, std::back_inserter(text));
  return text;
}

/// Where the next element of an array goes.
std::back_insert_iterator<std::string> StatsReport::element_of(Array array) {
  Text& pieces = arrays_[array];
  if (pieces.back().back() != '[') pieces.back().push_back(',');
  if (pieces.back().size() >= kPiece) {
    pieces.emplace_back().reserve(kPiece + kLongestElement);
    ++full_pieces_;
  }
  return std::back_inserter(pieces.back());
}

}  // namespace dflockd::service
