// history_check [--margin-ms N] [--session-idle S] [--auto-release 0] [--orphan-ttl S] FILES...:
// are these the histories of a FIFO lock server with leases?
//
// Prints each violation on a line, then totals. Exits with status 1 if there is a violation, and
// with 2 if the files cannot be read.
#include <array>
#include <charconv>
#include <cstdio>
#include <exception>
#include <span>
#include <string>
#include <string_view>

#include "checker.hpp"

namespace {

using dflockd::history::Bounds;
using dflockd::history::Report;

/// So that one fault that spoils everything does not fill the disk.
constexpr std::size_t kShown = 20;

void print(const Report& report) {
  std::array<std::size_t, dflockd::history::kRules> counts{};
  for (const auto& violation : report.violations) {
    if (++counts[static_cast<std::size_t>(violation.rule)] > kShown) continue;
    std::printf("%s: %s\n", std::string(name_of(violation.rule)).c_str(), violation.text.c_str());
  }
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] <= kShown) continue;
    std::printf("%s: and %zu more\n",
                std::string(name_of(static_cast<dflockd::history::Rule>(i))).c_str(),
                counts[i] - kShown);
  }
  const auto& totals = report.totals;
  std::printf("operations %zu, of them without a reply %zu\n", totals.operations, totals.unknown);
  std::printf("connections %zu, keys %zu\n", totals.connections, totals.keys);
  std::printf("grants %zu, certainly held for some time %zu, compared with holders before %zu\n",
              totals.grants, totals.certain_holds, totals.successions);
  std::printf("pairs in certain order of queueing %zu, grants in certain order of fences %zu\n",
              totals.ordered_pairs, totals.fence_pairs);
  std::printf("releases and renewals %zu, certainly to accept %zu, certainly to refuse %zu\n",
              totals.token_requests, totals.certain_consents, totals.certain_refusals);
  std::printf("shared grants %zu, handed back %zu, certainly to hand back %zu\n",
              totals.shared_grants, totals.hand_backs, totals.certain_hand_backs);
  std::printf("waits looked at for lost wake-ups %zu\n", totals.waits);
  std::printf("events");
  for (std::size_t i = 0; i < totals.events.size(); ++i) {
    if (totals.events[i] == 0) continue;
    std::printf(" %s=%zu", std::string(name_of(static_cast<dflockd::history::Event>(i))).c_str(),
                totals.events[i]);
  }
  std::printf("\nviolations %zu\n", report.violations.size());
}

int run(std::span<char* const> arguments) {
  Bounds bounds;
  dflockd::history::Reader reader;
  std::size_t files = 0;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    if (argument.starts_with("--") && i + 1 < arguments.size()) {
      const std::string_view value = arguments[++i];
      dflockd::history::Time number = 0;
      std::from_chars(value.data(), value.data() + value.size(), number);
      if (argument == "--margin-ms") {
        bounds.margin = number * (dflockd::history::kSecond / 1000);
      } else if (argument == "--session-idle") {
        // The server looks some times a second which sessions have been idle for twice as long.
        bounds.session_silence = 2 * number * dflockd::history::kSecond - bounds.wakeup;
        bounds.session_end = bounds.session_silence + 3 * dflockd::history::kSecond;
      } else if (argument == "--auto-release") {
        bounds.auto_release = number != 0;
      } else if (argument == "--orphan-ttl") {
        bounds.orphan_ttl = number * dflockd::history::kSecond;
      } else {
        bounds.margin = 0;
      }
    } else {
      reader.add_file(std::string(argument));
      ++files;
    }
  }
  if (files == 0 || bounds.margin <= 0) {
    std::fputs(
        "usage: history_check [--margin-ms N] [--session-idle S] [--auto-release 0|1] "
        "[--orphan-ttl S] FILES...\n",
        stderr);
    return 2;
  }
  const Report report = check(reader.finish(), bounds);
  print(report);
  return report.violations.empty() ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    return run(std::span(arguments, static_cast<std::size_t>(count)).subspan(1));
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "history_check: %s\n", failure.what());
    return 2;
  }
}
