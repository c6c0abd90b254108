#include "fencing/salt_pool.hpp"

#include <cerrno>
#include <span>
#include <system_error>

#include <openssl/crypto.h>

namespace dflockd::fencing {

SaltPool::SaltPool(Source source) : source_(source) {
  refill();
}

SaltPool::~SaltPool() {
  OPENSSL_cleanse(salts_.data(), sizeof salts_);
}

void SaltPool::refill() {
  std::span<std::byte> missing = std::as_writable_bytes(std::span(salts_));
  while (!missing.empty()) {
    const ssize_t drawn = source_(missing.data(), missing.size(), 0);
    // A signal ends a draw of more than 256 bytes early: with what there is, or with EINTR.
    if (drawn < 0 && errno == EINTR) continue;
    if (drawn < 0) throw std::system_error(errno, std::generic_category(), "getrandom");
    missing = missing.subspan(static_cast<std::size_t>(drawn));
  }
  left_ = salts_.size();
}

}  // namespace dflockd::fencing
