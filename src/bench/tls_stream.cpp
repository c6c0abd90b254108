#include "bench/tls_stream.hpp"

#include <new>

#include <asio/buffer.hpp>
#include <asio/ssl/error.hpp>
#include <asio/write.hpp>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>

namespace dflockd::bench {
namespace {

bool is_reason(const std::error_code& error, int reason) {
  const auto code = static_cast<unsigned long>(static_cast<unsigned int>(error.value()));
  return error.category() == asio::error::get_ssl_category() && ERR_GET_REASON(code) == reason;
}

}  // namespace

TlsStream::TlsStream(asio::io_context& io, const TlsContext& context, SSL_SESSION* session)
    : socket_(io.get_executor()),
      ssl_(context.connect(session)),
      incoming_(BIO_new(BIO_s_mem())),
      outgoing_(BIO_new(BIO_s_mem())) {
  if (incoming_ == nullptr || outgoing_ == nullptr) throw std::bad_alloc();
  SSL_set_bio(ssl_.get(), incoming_, outgoing_);
}

Awaitable<void> TlsStream::handshake(std::error_code& error) {
  for (;;) {
    ERR_clear_error();
    error = outcome(SSL_do_handshake(ssl_.get()));
    std::error_code lost;  // after a failure, there may be an alert to be sent
    if (!flush(lost)) co_await send_rest(lost);
    if (error != asio::error::would_block) co_return;
    error = lost;
    if (!error) co_await receive(error);
    if (error) co_return;
  }
}

std::string TlsStream::why(const std::error_code& error) const {
  if (error == asio::error::eof) return "the server closed the connection";
  if (is_reason(error, SSL_R_CERTIFICATE_VERIFY_FAILED)) {
    const long result = SSL_get_verify_result(ssl_.get());
    return std::string("its certificate is not trusted: ") + X509_verify_cert_error_string(result);
  }
  if (is_reason(error, SSL_R_WRONG_VERSION_NUMBER)) return "plain text where TLS was expected";
  return error.message();
}

TlsAgreement TlsStream::agreed() const {
  return {.version = SSL_get_version(ssl_.get()), .cipher = SSL_get_cipher_name(ssl_.get())};
}

TlsSession TlsStream::session() const {
  TlsSession session(SSL_get1_session(ssl_.get()));
  if (session != nullptr && SSL_SESSION_is_resumable(session.get()) != 1) session.reset();
  return session;
}

bool TlsStream::send(std::string_view text, std::error_code& error) {
  std::size_t encrypted = 0;
  ERR_clear_error();
  error = outcome(SSL_write_ex(ssl_.get(), text.data(), text.size(), &encrypted));
  return error || flush(error);
}

Awaitable<void> TlsStream::send_rest(std::error_code& error) {
  co_await asio::async_write(socket_, asio::buffer(unsent_), into(error));
}

Awaitable<std::size_t> TlsStream::read_some(std::span<char> space, std::error_code& error) {
  for (;;) {
    if (!has_unread()) {
      co_await receive(error);
      if (error) co_return 0;
    }
    const std::size_t size = take(space, error);
    if (error != asio::error::would_block) co_return size;
  }
}

Awaitable<void> TlsStream::say_goodbye(std::error_code& error) {
  ERR_clear_error();
  SSL_shutdown(ssl_.get());
  if (!flush(error)) co_await send_rest(error);
  if (!error) socket_.shutdown(Socket::shutdown_send, error);
  std::array<char, 64> ignored{};
  while (!error) co_await read_some(ignored, error);
  if (error == asio::error::eof) error.clear();
}

Awaitable<void> TlsStream::receive(std::error_code& error) {
  const std::size_t size = co_await socket_.async_read_some(asio::buffer(arriving_), into(error));
  if (size > 0 && BIO_write(incoming_, arriving_.data(), static_cast<int>(size)) <= 0) {
    throw std::bad_alloc();
  }
}

bool TlsStream::has_unread() const {
  return SSL_pending(ssl_.get()) > 0 || BIO_ctrl_pending(incoming_) > 0;
}

/// Decrypts what has arrived; `would_block` if that is only a part of a record.
std::size_t TlsStream::take(std::span<char> space, std::error_code& error) {
  std::size_t size = 0;
  do {
    std::size_t more = 0;
    ERR_clear_error();
    error = outcome(SSL_read_ex(ssl_.get(), space.data() + size, space.size() - size, &more));
    size += more;
    if (more > 0) base::note_data(ssl_.get());
  } while (!error && size < space.size() && has_unread());
  if (size > 0) error.clear();  // it comes again
  return size;
}

/// Sends what OpenSSL has written, as `send` does.
bool TlsStream::flush(std::error_code& error) {
  leaving_.resize(BIO_ctrl_pending(outgoing_));
  if (leaving_.empty()) return true;
  BIO_read(outgoing_, leaving_.data(), static_cast<int>(leaving_.size()));
  const std::size_t sent = socket_.write_some(asio::buffer(leaving_), error);
  if (error == asio::error::would_block) error.clear();
  unsent_ = std::string_view(leaving_).substr(sent);
  return error || unsent_.empty();
}

/// What came of OpenSSL's last call, which returned `result`.
std::error_code TlsStream::outcome(int result) const {
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_NONE:
      return {};
    case SSL_ERROR_WANT_READ:
      return asio::error::would_block;
    case SSL_ERROR_ZERO_RETURN:
      return asio::error::eof;
    default: {
      const unsigned long code = ERR_peek_error();
      if (code == 0) return std::make_error_code(std::errc::protocol_error);
      return {static_cast<int>(code), asio::error::get_ssl_category()};
    }
  }
}

}  // namespace dflockd::bench
