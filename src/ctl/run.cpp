#include <cstdlib>

#include <dflockd/lock.hpp>
#include <dflockd/semaphore.hpp>

#include "ctl/commands.hpp"
#include "ctl/runner.hpp"
#include "ctl/signals.hpp"
#include "ctl/text.hpp"

namespace dflockd::ctl {
namespace {

int run_with(Contender& lock, const Options& options, const Loss& loss) {
  Interruption interruption;
  bool granted = false;
  try {
    granted = lock.acquire_for(options.timeout, interruption.token());
  } catch (const Error& error) {
    if (error.code() != errc::canceled) throw;
  }
  if (const int signal = interruption.end(); signal != 0) {
    lock.close();
    return kSignaled + signal;
  }
  if (!granted && options.conflict_exit_code) return *options.conflict_exit_code;
  if (!granted) {
    say(lock.server() + ": " + in_quotes(lock.key()) + " was not granted in time");
    return kTimeout;
  }
  Runner runner(lock, loss, options.command, interruption.mask());
  const int status = runner.run();
  // A server that does not renew the lease would have to be waited for, by `lock`'s destructor too.
  // The end of the connection has the same effect.
  if (runner.left_lock()) std::_Exit(status);
  return status;
}

}  // namespace

int run_command(const Options& options) {
  Loss loss;
  SemaphoreOptions terms = contender_options(options);
  terms.on_renew_error = [&loss](const Error& error) { loss.report(error); };
  if (options.semaphore) {
    Semaphore semaphore(terms);
    return run_with(semaphore, options, loss);
  }
  Lock lock(terms);
  return run_with(lock, options, loss);
}

}  // namespace dflockd::ctl
