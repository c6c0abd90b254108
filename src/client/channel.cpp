#include "client/channel.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <new>
#include <tuple>

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <openssl/bio.h>
#include <openssl/err.h>

#include "base/tls.hpp"
#include "client/failure.hpp"
#include "client/process.hpp"

namespace dflockd::client {
namespace {

std::int64_t modified(const std::string& file) {
  struct stat status {};
  if (file.empty() || ::stat(file.c_str(), &status) != 0) return 0;
  return status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
}

/// The context for `options`, shared by all channels with the same, since a system's authorities
/// take a megabyte. Files that have changed make another.
std::shared_ptr<SSL_CTX> shared_context(const TlsOptions& options, const std::string& host) {
  using Key = std::tuple<std::string, std::string, std::string, std::string, std::int64_t,
                         std::int64_t, std::int64_t>;
  static auto& contexts = *new std::map<Key, std::weak_ptr<SSL_CTX>>;  // outlives static locks

  const Key key{options.ca_file,           options.cert_file,
                options.key_file,          options.server_name.empty() ? host : options.server_name,
                modified(options.ca_file), modified(options.cert_file),
                modified(options.key_file)};
  {
    const std::lock_guard guard(process_mutex());
    std::erase_if(contexts, [](const auto& entry) { return entry.second.expired(); });
    if (const auto known = contexts.find(key); known != contexts.end()) {
      if (auto context = known->second.lock()) return context;
    }
  }
  std::shared_ptr<SSL_CTX> context = make_tls_context(options, host);  // reads files
  const std::lock_guard guard(process_mutex());
  contexts[key] = context;
  return context;
}

[[noreturn]] void fail_closed() {
  throw Failure(errc::connection, "the server closed the connection");
}

}  // namespace

Channel::Channel(const Endpoint& endpoint, const ConnectionOptions& options, const Limits& limits)
    : socket_(connect_to(endpoint, limits)) {
  if (options.tls) shake_hands(*options.tls, endpoint.host, limits);
  if (options.auth_token.empty()) return;
  std::string request;
  detail::append_auth(request, options.auth_token);
  const std::string_view line = call(request, limits);
  if (const std::error_code refused = detail::read_ok(line)) {
    if (line == "error") throw Failure(errc::auth, "the server has no secret, but one was given");
    if (refused == errc::auth) throw Failure(errc::auth, "the server wants another secret");
    throw Failure(errc::protocol, "the server answered " + quoted_answer(line) + " to auth");
  }
}

void Channel::shake_hands(const TlsOptions& options, const std::string& host,
                          const Limits& limits) {
  tls_.reset(SSL_new(shared_context(options, host).get()));
  incoming_ = BIO_new(BIO_s_mem());
  outgoing_ = BIO_new(BIO_s_mem());
  if (tls_ == nullptr || incoming_ == nullptr || outgoing_ == nullptr) throw std::bad_alloc();
  SSL_set_bio(tls_.get(), incoming_, outgoing_);
  if (!base::set_role(tls_.get(), &SSL_set_connect_state)) throw std::bad_alloc();
  announce_name(tls_.get(), options, host);
  for (;;) {
    ERR_clear_error();
    const int result = SSL_do_handshake(tls_.get());
    const int error = SSL_get_error(tls_.get(), result);
    const bool failed = result != 1 && error != SSL_ERROR_WANT_READ;
    const std::string reason = failed ? tls_reason(tls_.get()) : "";
    flush(limits);  // after a failure, the alert for the server
    if (failed) throw Failure(errc::tls, reason);
    if (result == 1) return;
    std::array<char, 4096> bytes{};
    const std::size_t size = receive_bytes(bytes.data(), bytes.size(), limits);
    if (BIO_write(incoming_, bytes.data(), static_cast<int>(size)) <= 0) throw std::bad_alloc();
  }
}

std::string_view Channel::call(std::string_view request, const Limits& limits,
                               std::size_t longest) {
  try {
    send(request, limits);
  } catch (const Failure& failure) {
    if (failure.code() != errc::connection || !hears_refusal(limits)) throw;
  }
  return read_line(limits, longest);
}

/// After the server has hung up: whether the next line says that it wants another secret. Throws
/// `Failure` (`errc::tls`) if it has refused the handshake.
bool Channel::hears_refusal(const Limits& limits) {
  try {
    const std::string_view line = read_line(limits, detail::kLongestAnswer);
    taken_ = 0;  // it is read again
    return detail::read_ok(line) == errc::auth;
  } catch (const Failure& failure) {
    if (failure.code() == errc::tls) throw;
    return false;
  }
}

void Channel::expect_quiet() {
  std::array<char, 4096> bytes;  // NOLINT(cppcoreguidelines-pro-type-member-init): overwritten
  const ssize_t received = ::recv(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
  if (received <= 0 || tls_ == nullptr) fail_closed();
  // Under TLS there is more than what the server says, such as tickets for later sessions.
  if (BIO_write(incoming_, bytes.data(), static_cast<int>(received)) <= 0) throw std::bad_alloc();
  std::size_t size = 0;
  if (!decrypt(bytes.data(), bytes.size(), size)) return;
  fail_closed();  // what the server says before it hangs up is no answer
}

std::string_view Channel::abandon(const Limits& limits) noexcept {
  try {
    if (tls_ != nullptr) {
      ERR_clear_error();
      SSL_shutdown(tls_.get());
      flush(limits);
    }
    ::shutdown(socket_.get(), SHUT_WR);
    return read_line(limits, detail::kLongestAnswer);
  } catch (const std::exception&) {
    return {};
  }
}

void Channel::send(std::string_view text, const Limits& limits) {
  if (tls_ == nullptr) return send_bytes(text, limits);
  ERR_clear_error();
  if (SSL_write(tls_.get(), text.data(), static_cast<int>(text.size())) <= 0) {
    throw Failure(errc::tls, tls_reason(tls_.get()));
  }
  flush(limits);
}

void Channel::send_bytes(std::string_view bytes, const Limits& limits) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      wait_for(socket_.get(), POLLOUT, limits);
    } else if (errno != EINTR) {
      throw system_failure(errc::connection, errno);
    }
  }
}

void Channel::flush(const Limits& limits) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(outgoing_, &bytes);
  // Emptied even if it cannot be sent: what the server said before it hung up is still read.
  const auto empty = [](BIO* bio) { BIO_reset(bio); };
  const std::unique_ptr<BIO, decltype(empty)> emptied(outgoing_, empty);
  if (size > 0) send_bytes({bytes, static_cast<std::size_t>(size)}, limits);
}

std::size_t Channel::receive_bytes(char* space, std::size_t size, const Limits& limits) {
  for (;;) {
    wait_for(socket_.get(), POLLIN, limits);
    const ssize_t received = ::recv(socket_.get(), space, size, 0);
    if (received > 0) return static_cast<std::size_t>(received);
    if (received == 0) fail_closed();
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
      throw system_failure(errc::connection, errno);
    }
  }
}

/// Decrypts some of what has arrived. False if that is no whole record of data.
bool Channel::decrypt(char* space, std::size_t capacity, std::size_t& size) {
  ERR_clear_error();
  const int result = SSL_read_ex(tls_.get(), space, capacity, &size);
  switch (SSL_get_error(tls_.get(), result)) {
    case SSL_ERROR_NONE:
      base::note_data(tls_.get());
      return true;
    case SSL_ERROR_WANT_READ:
      return false;
    case SSL_ERROR_ZERO_RETURN:
      fail_closed();
    default:
      throw Failure(errc::tls, tls_reason(tls_.get()));
  }
}

void Channel::receive(const Limits& limits) {
  std::array<char, 16'384> bytes;  // NOLINT(cppcoreguidelines-pro-type-member-init): overwritten
  if (tls_ == nullptr) {
    received_.append(bytes.data(), receive_bytes(bytes.data(), bytes.size(), limits));
    return;
  }
  for (;;) {
    std::size_t size = 0;
    if (decrypt(bytes.data(), bytes.size(), size)) {
      received_.append(bytes.data(), size);
      return;
    }
    flush(limits);  // such as the answer to a change of keys
    size = receive_bytes(bytes.data(), bytes.size(), limits);
    if (BIO_write(incoming_, bytes.data(), static_cast<int>(size)) <= 0) throw std::bad_alloc();
  }
}

std::string_view Channel::read_line(const Limits& limits, std::size_t longest) {
  received_.erase(0, taken_);
  taken_ = 0;
  std::size_t seen = 0;
  for (;;) {
    if (tls_ == nullptr && detail::is_tls_alert(received_)) {
      throw Failure(errc::tls, "the server speaks TLS only");
    }
    const std::size_t end = received_.find('\n', seen);
    const std::size_t size = std::min(end, received_.size());
    if (size > longest) throw Failure(errc::protocol, "the server's answer is too long");
    if (end != std::string::npos) {
      taken_ = end + 1;
      return std::string_view(received_).substr(0, end);
    }
    seen = received_.size();
    receive(limits);
  }
}

}  // namespace dflockd::client
