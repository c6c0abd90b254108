#include "service/stats_report.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>
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

/// What a key's place goes by.
std::uint64_t rank_of(const locks::KeyInfo& key, StatsQuery::Order order) {
  switch (order) {
    case StatsQuery::Order::kWaiters:
      return key.waiters;
    case StatsQuery::Order::kOldestWait:
      return static_cast<std::uint64_t>(key.waited.count());
    case StatsQuery::Order::kHeld:
      return static_cast<std::uint64_t>(key.held.count());
    case StatsQuery::Order::kKey:
      break;
  }
  return 0;
}

}  // namespace

double in_seconds(locks::Instant time) {
  return std::chrono::duration<double>(std::chrono::floor<std::chrono::milliseconds>(time)).count();
}

StatsReport::StatsReport(Service& service, std::size_t connections, std::optional<StatsQuery> query)
    : service_(service), query_(std::move(query)) {
  arrays_[kLocks] = {fmt::format(R"({{"connections":{},"locks":[)", connections)};
  arrays_[kSemaphores] = {R"(],"semaphores":[)"};
  arrays_[kIdleLocks] = {R"(],"idle_locks":[)"};
  arrays_[kIdleSemaphores] = {R"(],"idle_semaphores":[)"};
}

bool StatsReport::read_slice() {
  if (!cursor_) return arrange_slice();
  const std::size_t enough = *cursor_ + kSlice;
  const std::size_t written_before = written_;
  while (cursor_ && *cursor_ < enough && written_ - written_before < kSliceBytes) {
    cursor_ = service_.visit_keys(*cursor_, kStep, [this](const locks::KeyInfo& key) { add(key); });
  }
  return cursor_ || query_;
}

void StatsReport::add(const locks::KeyInfo& key) {
  const bool is_lock = key.key.kind == locks::Kind::kLock;
  const Array array =
      key.holders > 0 ? (is_lock ? kLocks : kSemaphores) : (is_lock ? kIdleLocks : kIdleSemaphores);
  if (query_) return rank(array, key);
  std::string& piece = place_for_element(array);
  const std::size_t before = piece.size();
  write(piece, key);
  written_ += piece.size() - before;
}

/// Whether an element comes before another in the order of the query.
bool StatsReport::comes_before(const Ranked& left, const Ranked& right) {
  return left.rank != right.rank ? left.rank > right.rank : left.name < right.name;
}

/// Takes a key among the first ones if it is one so far.
void StatsReport::rank(Array array, const locks::KeyInfo& key) {
  if (!key.key.name.starts_with(query_->prefix)) return;
  ++totals_[array];
  const std::uint64_t rank = rank_of(key, query_->order);
  std::vector<Ranked>& first = ranked_[array];
  if (first.size() == query_->limit) {
    const Ranked& last = first.front();
    if (rank < last.rank || (rank == last.rank && key.key.name > last.name)) return;
    std::ranges::pop_heap(first, comes_before);
    first.pop_back();
  }
  Ranked& ranked = first.emplace_back(Ranked{rank, std::string(key.key.name), {}});
  write(ranked.element, key);
  written_ += ranked.element.size();
  std::ranges::push_heap(first, comes_before);
}

/// Puts elements of one array into their order. False when that is done with the last one.
bool StatsReport::arrange_slice() {
  std::vector<Ranked>& first = ranked_[arranging_];
  if (!std::exchange(sorted_, true)) {
    std::ranges::sort_heap(first, comes_before);
    return true;
  }
  std::size_t moved = 0;
  for (; arranged_ < first.size() && moved < kSliceBytes; ++arranged_) {
    const std::string& element = first[arranged_].element;
    place_for_element(static_cast<Array>(arranging_)) += element;
    moved += element.size();
  }
  if (arranged_ < first.size()) return true;
  first = {};
  arranged_ = 0;
  sorted_ = false;
  return ++arranging_ < kArrays;
}

void StatsReport::write(std::string& out, const locks::KeyInfo& key) const {
  const auto end = std::back_inserter(out);
  const std::string name = base::json_string(key.key.name);
  if (key.holders == 0) {
    fmt::format_to(end, R"({{"key":{},"idle_s":{:.3f}}})", name, in_seconds(key.idle));
    return;
  }
  const OwnerInfo& owner = service_.info(key.owner);
  if (key.key.kind == locks::Kind::kLock) {
    fmt::format_to(end,
                   R"({{"key":{},"owner_conn_id":{},"owner":"{}","name":{},"shared":{},)"
                   R"("holders":{},)",
                   name, owner.connection_id, owner.peer, base::json_string(owner.name), key.shared,
                   key.holders);
  } else {
    fmt::format_to(end, R"({{"key":{},"limit":{},"holders":{},"owner":"{}","name":{},)", name,
                   key.limit, key.holders, owner.peer, base::json_string(owner.name));
  }
  fmt::format_to(end,
                 R"("held_s":{:.3f},"lease_expires_in_s":{:.3f},"waiters":{},)"
                 R"("oldest_wait_s":{:.3f}}})",
                 in_seconds(key.held), in_seconds(key.lease_left), key.waiters,
                 in_seconds(key.waited));
}

StatsReport::Text StatsReport::finish() {
  std::string& end = arrays_[kIdleSemaphores].back();
  end += ']';
  if (query_) {
    fmt::format_to(
        std::back_inserter(end),
        R"(,"total":{{"locks":{},"semaphores":{},"idle_locks":{},"idle_semaphores":{}}})",
        totals_[kLocks], totals_[kSemaphores], totals_[kIdleLocks], totals_[kIdleSemaphores]);
  }
  end += "}\n";
  Text text;
  for (Text& pieces : arrays_) std::ranges::move(pieces, std::back_inserter(text));
  return text;
}

/// The piece that the next element of an array goes to the end of.
std::string& StatsReport::place_for_element(Array array) {
  Text& pieces = arrays_[array];
  if (pieces.back().back() != '[') pieces.back().push_back(',');
  if (pieces.back().size() >= kPiece) pieces.emplace_back().reserve(kPiece + kLongestElement);
  return pieces.back();
}

namespace {

void append_claim(std::string& out, const locks::ClaimInfo& claim, const OwnerInfo& owner) {
  if (out.back() != '[') out += ',';
  const auto end = std::back_inserter(out);
  fmt::format_to(end, R"({{"owner_conn_id":{},"owner":"{}","name":{},"shared":{},)",
                 owner.connection_id, owner.peer, base::json_string(owner.name), claim.shared);
  if (claim.held) {
    fmt::format_to(end, R"("fence":"{}","held_s":{:.3f},"lease_expires_in_s":{:.3f}}})",
                   claim.fence, in_seconds(claim.age), in_seconds(claim.ends_in));
  } else if (claim.ends_in == locks::kNever) {
    fmt::format_to(end, R"("waited_s":{:.3f},"times_out_in_s":null}})", in_seconds(claim.age));
  } else {
    fmt::format_to(end, R"("waited_s":{:.3f},"times_out_in_s":{:.3f}}})", in_seconds(claim.age),
                   in_seconds(claim.ends_in));
  }
}

}  // namespace

std::optional<std::string> stat_of(Service& service, const locks::Key& key) {
  std::string holders = "[";
  std::string waiters = "[";
  const auto info = service.visit_claims(key, kMostClaims, [&](const locks::ClaimInfo& claim) {
    append_claim(claim.held ? holders : waiters, claim, service.info(claim.owner));
  });
  if (!info) return std::nullopt;
  return fmt::format(
      R"({{"key":{},"kind":"{}","limit":{},"holders":{}],"holder_count":{},"waiters":{}],)"
      R"("waiter_count":{}}})",
      base::json_string(key.name), key.kind == locks::Kind::kLock ? "lock" : "semaphore",
      info->limit, holders, info->holders, waiters, info->waiters);
}

}  // namespace dflockd::service
