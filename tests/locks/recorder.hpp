// What the tests of the lock table share: a sink that keeps every effect, and words for what is
// said to the table and by it.
#pragma once

#include <iosfwd>
#include <string_view>
#include <utility>
#include <vector>

#include "locks/command.hpp"

namespace dflockd::locks {

/// The same name, in memory of its own that stays: effects and keys may outlive what they came
/// from.
[[nodiscard]] std::string_view kept(std::string_view name);
[[nodiscard]] inline Key kept(const Key& key) {
  return {key.kind, kept(key.name)};
}

/// Keeps every effect, in order.
class Recorder : public EffectSink {
 public:
  void take(const Effect& effect) noexcept override {
    effects_.push_back({effect.owner, kept(effect.key), effect.answer});
  }

  /// The effects since the last call.
  [[nodiscard]] std::vector<Effect> effects() { return std::exchange(effects_, {}); }

 private:
  std::vector<Effect> effects_;
};

// For messages.
std::ostream& operator<<(std::ostream& out, Outcome outcome);
std::ostream& operator<<(std::ostream& out, const OwnerId& owner);
std::ostream& operator<<(std::ostream& out, const Key& key);
std::ostream& operator<<(std::ostream& out, const Token& token);
std::ostream& operator<<(std::ostream& out, const Answer& answer);
std::ostream& operator<<(std::ostream& out, const Effect& effect);
std::ostream& operator<<(std::ostream& out, const KeyInfo& key);
std::ostream& operator<<(std::ostream& out, const TableCounts& counts);
std::ostream& operator<<(std::ostream& out, const Command& command);

}  // namespace dflockd::locks
