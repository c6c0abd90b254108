// What the lock table must do with the commands that reach it. They come from the service's log,
// and are carried out by a second table, as a replica would, and by the naive one of the property
// tests, written from the contracts alone: all three must agree.
//
// Where the contract leaves an order open (what is due at the same instant, which of the keys that
// are idle for equally long makes room) it follows every way that agrees with what the table did.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "locks/lock_table.hpp"
#include "naive_table.hpp"
#include "random.hpp"
#include "recorder.hpp"
#include "sight.hpp"

namespace dflockd::simulation {

/// The server did something else than it had to. `what()` says what was expected and what happened.
class Violation : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What the server did can have come about in too many ways to follow them all: orphans end without
/// anybody being told, and after a long sleep or a jump of the clock many of them do in one
/// command.
class Undecided : public std::exception {};

/// The salts of one run of the server, in the order in which it draws them.
struct Salts {
  std::uint64_t stream = 0;
  [[nodiscard]] std::uint64_t at(std::uint64_t number) const { return spread(stream + number); }
};

/// The command, with names that outlive the call.
[[nodiscard]] locks::Command kept(locks::Command command);

/// Whether two commands ask for the same, whatever the salt.
[[nodiscard]] bool ask_alike(const locks::Command& left, const locks::Command& right);

/// For messages and traces.
[[nodiscard]] std::string shown(const locks::Command& command);
[[nodiscard]] std::string shown(std::string_view text);

class TableOracle {
 public:
  struct Outcome {
    locks::Answer answer;
    std::vector<locks::Effect> effects;
  };

  explicit TableOracle(const locks::TableOptions& options) : options_(options) {}

  /// The server starts. Nothing is held, and no fence below those granted may be granted again.
  void started(const Salts& salts);

  /// What a command does, whose names stay. Throws Violation, or Undecided.
  Outcome carry_out(Time now, const locks::Command& command);

  /// Compares with the server's own table. Throws Violation.
  void compare(const locks::LockTable& table, bool with_keys);

  [[nodiscard]] bool has_claims(locks::OwnerId owner) const { return replica_->has_claims(owner); }
  [[nodiscard]] Time next_deadline() const { return replica_->next_deadline(); }
  /// A deadline, of any grant, wait or idle key, or `kNever`.
  [[nodiscard]] Time some_deadline(Random& random, Time gc_max_idle) const;
  [[nodiscard]] std::uint64_t fences_left() const { return replica_->fences_left(); }
  [[nodiscard]] const locks::TableCounts& counts() const { return replica_->counts(); }
  [[nodiscard]] std::size_t held() const { return replica_->held(); }
  /// See `LockTable::visit_claims`.
  template <class Visitor>
  std::optional<locks::KeyInfo> visit_claims(const locks::Key& key, Visitor visit) const {
    return replica_->visit_claims(key, SIZE_MAX, visit);
  }
  [[nodiscard]] std::uint64_t grants() const { return grants_; }

 private:
  [[nodiscard]] std::map<std::uint64_t, locks::Key> granted_from(std::uint64_t first) const;
  void check_salt(const locks::Request& request);

  const locks::TableOptions options_;
  Salts salts_;
  std::uint64_t salts_drawn_ = 0;
  locks::Recorder recorder_;
  std::unique_ptr<locks::LockTable> replica_;
  std::vector<locks::NaiveTable> models_;  ///< all that agree with what was seen
  Time now_{0};
  std::uint64_t next_fence_ = 0;  ///< not to be granted before, in any run
  std::uint64_t grants_ = 0;
};

}  // namespace dflockd::simulation
