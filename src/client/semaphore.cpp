#include <dflockd/semaphore.hpp>

#include "client/check.hpp"
#include "client/failure.hpp"

namespace dflockd {
namespace {

int checked(int limit) {
  try {
    client::check_limit(limit);
  } catch (const client::Failure& failure) {
    throw client::to_error(failure, "", "");
  }
  return limit;
}

}  // namespace

Semaphore::Semaphore(const SemaphoreOptions& options)
    : Contender(options, checked(options.limit)), limit_(options.limit) {}

}  // namespace dflockd
