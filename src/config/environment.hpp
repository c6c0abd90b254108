// The environment's variables that begin with DFLOCKD_. Internal to the room.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/config.hpp"

namespace dflockd::config {

/// Reads from an environment, which must outlive it. Where a variable stands there twice, the first
/// counts; one that is empty counts as not set.
class OwnVariables {
 public:
  explicit OwnVariables(Environment environment);

  /// The value of a variable; nullptr if it is not set, or holds what a container platform sets.
  /// Such a one is warned of. Call it at most once for each name.
  const char* take(std::string_view name);

  /// What there is to say: of those that were taken, and of others, which nobody reads. `names` are
  /// those of the server's variables.
  [[nodiscard]] std::vector<std::string> warnings(const std::vector<std::string_view>& names) const;

 private:
  struct Variable {
    std::string_view name;
    const char* value;
    bool taken = false;
  };
  std::vector<Variable> variables_;
};

}  // namespace dflockd::config
