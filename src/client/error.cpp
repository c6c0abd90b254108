#include <dflockd/error.hpp>

#include "client/failure.hpp"

namespace dflockd {
namespace {

class Category : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "dflockd"; }

  [[nodiscard]] std::string message(int code) const override {
    switch (static_cast<errc>(code)) {
      case errc::timeout:
        return "timed out";
      case errc::max_locks:
        return "the server has as many keys as it may";
      case errc::max_waiters:
        return "the queue of the key is full";
      case errc::limit_mismatch:
        return "the semaphore has another limit";
      case errc::already_enqueued:
        return "enqueued already";
      case errc::not_enqueued:
        return "not enqueued";
      case errc::lease_expired:
        return "the lease ran out";
      case errc::not_held:
        return "not held";
      case errc::auth:
        return "not authenticated";
      case errc::draining:
        return "the server is about to stop";
      case errc::protocol:
        return "unexpected answer";
      case errc::connection:
        return "no connection";
      case errc::tls:
        return "no trusted TLS connection";
      case errc::invalid_argument:
        return "invalid argument";
      case errc::canceled:
        return "canceled";
    }
    return "unknown error";
  }
};

}  // namespace

const std::error_category& error_category() noexcept {
  static const Category kCategory;
  return kCategory;
}

std::error_code make_error_code(errc code) noexcept {
  return {static_cast<int>(code), error_category()};
}

Error::Error(std::error_code code, const std::string& what)
    : std::system_error(code), what_(std::make_shared<const std::string>(what)) {}

Error::Error(errc code, const std::string& what) : Error(make_error_code(code), what) {}

namespace client {

Failure system_failure(errc code, int error) {
  return {code, std::generic_category().message(error)};
}

std::string quoted_answer(std::string_view line) {
  for (const std::string_view word : {"ok ", "acquired "}) {
    if (line.starts_with(word)) return in_quotes(std::string(word) + "...");
  }
  return in_quotes(line);
}

Error to_error(const Failure& failure, std::string_view server, std::string_view action) {
  std::string what;
  if (!server.empty()) what.append(server).append(": ");
  if (!action.empty()) what.append("cannot ").append(action).append(": ");
  // What the server answers in time is no failure, `timeout` included. So this is one that did not.
  const errc code = failure.code() == errc::timeout ? errc::connection : failure.code();
  return {code, what + failure.what()};
}

}  // namespace client
}  // namespace dflockd
