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

}  // namespace

double in_seconds(locks::Instant time) {
  return std::chrono::duration<double>(std::chrono::floor<std::chrono::milliseconds>(time)).count();
}

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
                   R"({{"key":{},"idle_s":{:.3f}}})", name, in_seconds(key.idle));
    return;
  }
  const OwnerInfo& owner = service_.info(key.owner);
  const auto out = element_of(is_lock ? kLocks : kSemaphores);
  if (is_lock) {
    fmt::format_to(out,
                   R"({{"key":{},"owner_conn_id":{},"owner":"{}","name":{},"shared":{},)"
                   R"("holders":{},)",
                   name, owner.connection_id, owner.peer, base::json_string(owner.name), key.shared,
                   key.holders);
  } else {
    fmt::format_to(out, R"({{"key":{},"limit":{},"holders":{},"owner":"{}","name":{},)", name,
                   key.limit, key.holders, owner.peer, base::json_string(owner.name));
  }
  fmt::format_to(out,
                 R"("held_s":{:.3f},"lease_expires_in_s":{:.3f},"waiters":{},)"
                 R"("oldest_wait_s":{:.3f}}})",
                 in_seconds(key.held), in_seconds(key.lease_left), key.waiters,
                 in_seconds(key.waited));
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
