#include "table_oracle.hpp"

#include <algorithm>
#include <sstream>
#include <string>
#include <utility>
#include <variant>

namespace dflockd::simulation {

namespace {

/// In how many ways a command may have gone before the oracle gives up, and how many may be left.
constexpr std::size_t kMostWays = 5000;
constexpr std::size_t kMostModels = 100;

/// All keys, by kind and name.
std::vector<locks::KeyInfo> keys_of(const locks::LockTable& table) {
  std::vector<locks::KeyInfo> keys;
  table.visit_keys(0, SIZE_MAX, [&](const locks::KeyInfo& info) {
    keys.emplace_back(info).key = locks::kept(info.key);
  });
  std::ranges::sort(
      keys, {}, [](const locks::KeyInfo& key) { return std::pair(key.key.kind, key.key.name); });
  return keys;
}

std::string shown(const locks::Answer& answer, const std::vector<locks::Effect>& effects) {
  std::ostringstream out;
  out << answer;
  for (const locks::Effect& effect : effects) out << ", " << effect;
  return out.str();
}

template <class Table>
std::string shown(const Table& table, const std::vector<locks::KeyInfo>& keys) {
  std::ostringstream out;
  out << table.counts() << ", next deadline " << table.next_deadline().count() << ", next fence "
      << table.next_fence() << ", fences left " << table.fences_left();
  for (const locks::KeyInfo& key : keys) out << "; " << key;
  return out.str();
}

template <class Table, class Other>
bool alike(const Table& one, const Other& other) {
  return one.counts() == other.counts() && one.next_deadline() == other.next_deadline() &&
         one.next_fence() == other.next_fence() && one.fences_left() == other.fences_left();
}

}  // namespace

locks::Command kept(locks::Command command) {
  std::visit(
      [](auto& any) {
        if constexpr (requires { any.key; }) any.key = locks::kept(any.key);
        if constexpr (requires { any.request; }) any.request.key = locks::kept(any.request.key);
        if constexpr (requires { any.ref; }) any.ref = locks::kept(any.ref);
      },
      command);
  return command;
}

bool ask_alike(const locks::Command& left, const locks::Command& right) {
  if (left.index() != right.index()) return false;
  return std::visit(
      [&]<class Any>(const Any& one) {
        const Any& other = std::get<Any>(right);
        bool alike = true;
        if constexpr (requires { one.owner; }) alike = alike && one.owner == other.owner;
        if constexpr (requires { one.key; }) alike = alike && one.key == other.key;
        if constexpr (requires { one.token; }) alike = alike && one.token == other.token;
        if constexpr (requires { one.timeout; }) alike = alike && one.timeout == other.timeout;
        if constexpr (requires { one.lease; }) alike = alike && one.lease == other.lease;
        if constexpr (requires { one.ref; }) alike = alike && one.ref == other.ref;
        if constexpr (requires { one.request; }) {
          alike = alike && one.request.key == other.request.key &&
                  one.request.limit == other.request.limit &&
                  one.request.lease == other.request.lease &&
                  one.request.shared == other.request.shared;
        }
        return alike;
      },
      left);
}

std::string shown(const locks::Command& command) {
  std::ostringstream out;
  out << command;
  return out.str();
}

std::string shown(std::string_view text) {
  std::string result;
  for (const char c : text.substr(0, 120)) {
    result += c == '\n' ? '|' : c < ' ' || c > '~' ? '?' : c;
  }
  return result;
}

void TableOracle::started(const Salts& salts) {
  salts_ = salts;
  salts_drawn_ = 2;  // for the secret of the hash table
  now_ = Time(0);    // the table has seen no time yet
  locks::TableOptions options = options_;
  options.hash_key = {.low = salts.at(0), .high = salts.at(1)};
  replica_ = std::make_unique<locks::LockTable>(options, recorder_);
  models_ = {locks::NaiveTable(options_)};
}

TableOracle::Outcome TableOracle::carry_out(Time now, const locks::Command& command) {
  if (const auto* const acquire = std::get_if<locks::Acquire>(&command)) {
    check_salt(acquire->request);
  } else if (const auto* const enqueue = std::get_if<locks::Enqueue>(&command)) {
    check_salt(enqueue->request);
  } else if (const auto* const fences = std::get_if<locks::ReserveFences>(&command);
             fences != nullptr && fences->first < next_fence_) {
    throw Violation("fences from " + std::to_string(fences->first) +
                    " on: expected them in the order of the grants, but " +
                    std::to_string(next_fence_ - 1) + " has been granted");
  }
  now_ = std::max(now_, now);
  const std::uint64_t fence_before = replica_->next_fence();
  Outcome seen{.answer = replica_->apply(now, command), .effects = recorder_.effects()};

  std::map<std::uint64_t, locks::Key> granted;
  if (replica_->next_fence() > fence_before + 1) granted = granted_from(fence_before);
  const auto may_hold = [&](std::uint64_t fence, const locks::Key& key) {
    const auto found = granted.find(fence);
    return found == granted.end() || found->second == key;
  };

  std::size_t ways = 0;
  std::string expected;
  const auto possible = [&](const std::vector<locks::Effect>& before, const locks::Effect& effect) {
    return before.size() < seen.effects.size() && seen.effects[before.size()] == effect;
  };
  std::vector<locks::NaiveTable> models =
      agreeing(models_, [&](locks::NaiveTable& model, locks::Choices& choices) {
        if (++ways > kMostWays) throw Undecided();
        const locks::Answer answer =
            model.apply(now, command, {choices, seen.answer.owner, possible, may_hold});
        const std::vector<locks::Effect> effects = model.take_effects();
        const bool agrees =
            answer == seen.answer && effects == seen.effects && alike(model, *replica_);
        if (!agrees && expected.empty()) {
          expected = shown(answer, effects) + ", " + shown(model, model.keys());
        }
        return agrees;
      });
  if (models.empty()) {
    std::ostringstream out;
    out << command << ": expected " << expected << ", but " << shown(seen.answer, seen.effects)
        << ", " << shown(*replica_, keys_of(*replica_));
    throw Violation(out.str());
  }
  if (models.size() > kMostModels) throw Undecided();
  models_ = std::move(models);
  next_fence_ = std::max(next_fence_, replica_->next_fence());
  if (!std::holds_alternative<locks::ReserveFences>(command)) {
    grants_ += replica_->next_fence() - fence_before;
  }
  return seen;
}

/// Which key got which of the fences from `first` on, where it still has it.
std::map<std::uint64_t, locks::Key> TableOracle::granted_from(std::uint64_t first) const {
  std::map<std::uint64_t, locks::Key> granted;
  replica_->visit_keys(0, SIZE_MAX, [&](const locks::KeyInfo& key) {
    visit_claims(key.key, [&](const locks::ClaimInfo& claim) {
      if (claim.fence >= first) granted.emplace(claim.fence, locks::kept(key.key));
    });
  });
  return granted;
}

/// No salt is used twice, and none passed over.
void TableOracle::check_salt(const locks::Request& request) {
  if (request.salt != salts_.at(salts_drawn_++)) {
    throw Violation("salt " + std::to_string(request.salt) + ": expected the next one drawn");
  }
}

void TableOracle::compare(const locks::LockTable& table, bool with_keys) {
  if (!alike(table, *replica_)) {
    throw Violation("table: expected " + shown(*replica_, {}) + ", but " + shown(table, {}));
  }
  if (!with_keys) return;
  if (!table.consistent()) throw Violation("table: expected it to be consistent, but it is not");
  const std::vector<locks::KeyInfo> keys = keys_of(table);
  std::string expected;
  std::erase_if(models_, [&](const locks::NaiveTable& model) {
    const std::vector<locks::KeyInfo> its = model.keys();
    if (its == keys) return false;
    expected = shown(model, its);
    return true;
  });
  if (models_.empty()) {
    throw Violation("table: expected " + expected + ", but " + shown(table, keys));
  }
}

Time TableOracle::some_deadline(Random& random, Time gc_max_idle) const {
  std::vector<Time> times = models_.front().deadlines();
  for (const locks::KeyInfo& key : models_.front().keys()) {
    if (key.holders == 0) times.push_back(now_ - key.idle + gc_max_idle);
  }
  return times.empty() ? kNever : random.pick(times);
}

}  // namespace dflockd::simulation
