// dflockctl: locks from a shell.

#include <exception>
#include <iostream>
#include <variant>

#include <dflockd/error.hpp>

#include "ctl/commands.hpp"
#include "ctl/options.hpp"
#include "ctl/signals.hpp"
#include "ctl/text.hpp"

namespace {

using namespace dflockd::ctl;

int run(const Options& options) {
  const bool runs =
      options.subcommand == Subcommand::kLock || options.subcommand == Subcommand::kSemaphore;
  if (!runs) unblock_ending_signals();  // a command is to find them as dflockctl did
  switch (options.subcommand) {
    case Subcommand::kLock:
    case Subcommand::kSemaphore:
      return run_command(options);
    case Subcommand::kAcquire:
      return acquire(options, std::cout);
    case Subcommand::kRelease:
      return release(options, std::cin);
    case Subcommand::kRenew:
      return renew(options, std::cin, std::cout);
    case Subcommand::kStats:
      return show_stats(options, std::cout);
    case Subcommand::kPing:
      return ping(options, std::cout);
  }
  return kFailed;
}

int status_of(const dflockd::Error& error) {
  if (error.code() == dflockd::errc::invalid_argument) return kUsage;
  if (error.code() == dflockd::errc::not_held || error.code() == dflockd::errc::lease_expired) {
    return kLost;
  }
  return kFailed;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const auto parsed = parse_options(argc, argv, std::cout, std::cerr);
    if (const int* const status = std::get_if<int>(&parsed)) return *status;
    const int status = run(std::get<Options>(parsed));
    if (std::cout.flush()) return status;
    say("cannot write to standard output");
  } catch (const dflockd::Error& error) {
    say(error.what());
    return status_of(error);
  } catch (const std::exception& error) {
    say(error.what());
  }
  return kFailed;
}
