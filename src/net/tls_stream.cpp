#include "net/tls_stream.hpp"

#include <cerrno>
#include <memory>
#include <new>
#include <utility>

#include <sys/socket.h>

#include <asio/post.hpp>
#include <asio/ssl/error.hpp>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/tls.hpp"

namespace dflockd::net {

namespace {

/// How much is encrypted and sent before others have their turn.
constexpr std::size_t kWriteSlice = 64UL * 1024;

/// How much is received before others have their turn. OpenSSL goes on as long as there is more and
/// it has found nothing to return, such as among records that only change keys.
constexpr std::size_t kReadSlice = 32UL * 1024;

bool is_would_block(int error) {
  return error == EAGAIN || error == EWOULDBLOCK;
}

/// An error of OpenSSL's, as it would have found it itself.
std::error_code tls_error(int reason) {
  return {static_cast<int>(ERR_PACK(ERR_LIB_SSL, 0, reason)), asio::error::get_ssl_category()};
}

/// The reason of an error of OpenSSL's; 0 for another.
int tls_reason(const std::error_code& error) {
  if (error.category() != asio::error::get_ssl_category()) return 0;
  return ERR_GET_REASON(static_cast<unsigned long>(static_cast<unsigned int>(error.value())));
}

}  // namespace

bool HandshakeSizes::admit(std::string_view received) {
  constexpr std::uint8_t kHandshake = 22;
  while (!received.empty()) {
    if (record_left_ == 0) {
      record_[record_size_++] = static_cast<std::uint8_t>(received.front());
      received.remove_prefix(1);
      if (record_size_ < record_.size()) continue;
      record_size_ = 0;
      record_left_ = static_cast<std::uint16_t>(record_[3] << 8U | record_[4]);
      continue;
    }
    const std::string_view content = received.substr(0, record_left_);
    if (record_[0] == kHandshake && !admit_content(content)) return false;
    record_left_ = static_cast<std::uint16_t>(record_left_ - content.size());
    received.remove_prefix(content.size());
  }
  return true;
}

bool HandshakeSizes::admit_content(std::string_view content) {
  while (!content.empty()) {
    if (message_left_ > 0) {
      const std::string_view part = content.substr(0, message_left_);
      message_left_ -= static_cast<std::uint32_t>(part.size());
      content.remove_prefix(part.size());
      continue;
    }
    message_[message_size_++] = static_cast<std::uint8_t>(content.front());
    content.remove_prefix(1);
    if (message_size_ < message_.size()) continue;
    message_size_ = 0;
    message_left_ =
        static_cast<std::uint32_t>(message_[1] << 16U | message_[2] << 8U | message_[3]);
    if (message_left_ > base::kMaxHandshakeMessage) return false;
  }
  return true;
}

struct TlsStream::Transport {
  static TlsStream& stream(BIO* bio) { return *static_cast<TlsStream*>(BIO_get_data(bio)); }

  static int read(BIO* bio, char* space, int size) {
    TlsStream& self = stream(bio);
    BIO_clear_retry_flags(bio);
    ssize_t received = -1;
    if (!self.drained_) {
      do {
        received = ::recv(self.socket_.native_handle(), space, static_cast<std::size_t>(size), 0);
      } while (received < 0 && errno == EINTR);
      if (received > 0) self.slice_ += static_cast<std::size_t>(received);
      if (received > 0 && !self.admit({space, static_cast<std::size_t>(received)})) return -1;
      // As in receive_buffer.hpp: a short reception has emptied the socket.
      self.drained_ = received < 0 ? is_would_block(errno)
                                   : received > 0 && (received < size || self.slice_ >= kReadSlice);
      self.ended_ = received == 0;
    }
    if (received < 0 && self.drained_) {
      BIO_set_retry_read(bio);
    } else if (received < 0) {
      self.transport_error_.assign(errno, std::system_category());
    }
    return static_cast<int>(received);
  }

  static int write(BIO* bio, const char* bytes, int size) {
    TlsStream& self = stream(bio);
    BIO_clear_retry_flags(bio);
    ssize_t sent = -1;
    do {
      sent =
          ::send(self.socket_.native_handle(), bytes, static_cast<std::size_t>(size), MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && is_would_block(errno)) {
      BIO_set_retry_write(bio);
    } else if (sent < 0) {
      self.transport_error_.assign(errno, std::system_category());
    }
    return static_cast<int>(sent);
  }

  static long control(BIO* bio, int command, long, void*) {
    switch (command) {
      case BIO_CTRL_FLUSH:
        return 1;
      case BIO_CTRL_EOF:
        return stream(bio).ended_ ? 1 : 0;
      default:
        return 0;
    }
  }

  static const BIO_METHOD* method() {
    struct Deleter {
      void operator()(BIO_METHOD* method) const { BIO_meth_free(method); }
    };
    static const std::unique_ptr<BIO_METHOD, Deleter> kMethod([] {
      BIO_METHOD* const method =
          BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "dflockd connection");
      if (method == nullptr) throw std::bad_alloc();
      BIO_meth_set_read(method, &Transport::read);
      BIO_meth_set_write(method, &Transport::write);
      BIO_meth_set_ctrl(method, &Transport::control);
      return method;
    }());
    return kMethod.get();
  }
};

TlsStream::TlsStream(Origin origin)
    : SocketStream(std::move(origin.socket)), ssl_(std::move(origin.ssl)) {
  BIO* const bio = BIO_new(Transport::method());
  if (bio == nullptr) throw std::bad_alloc();
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);
}

TlsStream::~TlsStream() {
  say_goodbye();
}

Awaitable TlsStream::handshake(std::error_code& error, Turns* turns) {
  for (;;) {
    if (turns != nullptr) co_await turns->next(kUseAwaitable);
    begin_receiving();
    ERR_clear_error();
    error = outcome(SSL_do_handshake(ssl_.get()));
    // It may be one of our clients, configured without TLS. Others would see garbage.
    if (tls_reason(error) == SSL_R_WRONG_VERSION_NUMBER) send_alert(SSL_AD_PROTOCOL_VERSION);
    if (error != asio::error::would_block) co_return;
    co_await wait(error);
    if (error) co_return;
  }
}

/// Whether handshake messages in `received` are short enough; sets `transport_error_` if not. What
/// OpenSSL decrypts it bounds itself.
bool TlsStream::admit(std::string_view received) {
  heard_ = true;
  if (SSL_is_init_finished(ssl_.get()) == 1) return true;
  if (SSL_version(ssl_.get()) == TLS1_2_VERSION) return true;  // agreed on, so there was the hello
  if (sizes_.admit(received)) return true;
  transport_error_ = tls_error(SSL_R_EXCESSIVE_MESSAGE_SIZE);
  send_alert(SSL_AD_ILLEGAL_PARAMETER);
  return false;
}

/// Says why there is no handshake where OpenSSL has said nothing, in the clear.
void TlsStream::send_alert(std::uint8_t alert) {
  if (BIO_number_written(SSL_get_wbio(ssl_.get())) > 0) return;
  const std::array<std::uint8_t, 7> record{21, 3, 1, 0, 2, SSL3_AL_FATAL, alert};
  ::send(socket_.native_handle(), record.data(), record.size(), MSG_NOSIGNAL);
}

std::string TlsStream::why(const std::error_code& error) {
  if (error == asio::error::eof) return "the peer left";
  switch (tls_reason(error)) {
    case 0:
      return error.message();
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_WRONG_VERSION_NUMBER:
      return "plain text where TLS was expected";
    case SSL_R_EXCESSIVE_MESSAGE_SIZE:
      return "a handshake message is over 16 KiB long";
    default: {
      const auto code = static_cast<unsigned long>(static_cast<unsigned int>(error.value()));
      const char* const reason = ERR_reason_error_string(code);
      return reason != nullptr ? reason : "unknown";
    }
  }
}

AwaitableOf<std::size_t> TlsStream::async_read_some(std::span<char> space, std::error_code& error) {
  error = asio::error::would_block;
  wants_write_ = false;
  const std::size_t size = has_nothing_buffered() ? 0 : read_buffered(space, error);
  if (error != asio::error::would_block) {
    // Others have their turn, however fast this peer sends.
    delivering_ = true;
    co_await asio::post(socket_.get_executor(), kUseAwaitable);
    delivering_ = false;
    co_return size;
  }
  co_await wait(error);
  if (error) co_return 0;
  co_return read_some(space, error);
}

std::size_t TlsStream::read_some(std::span<char> space, std::error_code& error) {
  begin_receiving();
  return read_buffered(space, error);
}

/// Makes what OpenSSL reads come from the socket again.
void TlsStream::begin_receiving() {
  drained_ = false;
  slice_ = 0;
}

/// Whether reading could only tell that it would block.
bool TlsStream::has_nothing_buffered() const {
  const bool ended = (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
  return drained_ && !ended && !failure_ && SSL_has_pending(ssl_.get()) == 0;
}

/// Reads what has been received, and no more from the socket than it is known to have.
std::size_t TlsStream::read_buffered(std::span<char> space, std::error_code& error) {
  std::size_t size = 0;
  do {
    std::size_t more = 0;
    ERR_clear_error();
    error = outcome(SSL_read_ex(ssl_.get(), space.data() + size, space.size() - size, &more));
    size += more;
    if (more > 0) base::note_data(ssl_.get());
  } while (!error && size < space.size() && SSL_has_pending(ssl_.get()) == 1);
  if (size > 0) error.clear();  // it comes again
  return size;
}

bool TlsStream::has_unread() {
  char byte = 0;
  std::size_t size = 0;
  begin_receiving();
  ERR_clear_error();
  static_cast<void>(outcome(SSL_peek_ex(ssl_.get(), &byte, sizeof byte, &size)));
  return size > 0;
}

/// What OpenSSL has is returned before anything is waited for; a part of a record is nothing yet.
bool TlsStream::has_arrivals() const {
  std::error_code ignored;
  return delivering_ || socket_.available(ignored) > 0;
}

std::size_t TlsStream::write_some(std::string_view bytes, std::error_code& error) {
  std::size_t size = 0;
  error.clear();
  while (!error && size < bytes.size()) {
    std::size_t more = 0;
    ERR_clear_error();
    error = outcome(SSL_write_ex(ssl_.get(), bytes.data() + size, bytes.size() - size, &more));
    size += more;
  }
  return size;
}

AwaitableOf<std::size_t> TlsStream::async_write_bytes(std::string_view bytes,
                                                      std::error_code& error) {
  std::size_t size = 0;
  error.clear();
  while (size < bytes.size()) {
    size += write_some(bytes.substr(size, kWriteSlice), error);
    if (error && error != asio::error::would_block) break;
    if (!error) wants_write_ = true;  // others have their turn before more is encrypted
    if (size < bytes.size()) co_await wait(error);
    if (error) break;
  }
  co_return size;
}

void TlsStream::end_sending() {
  say_goodbye();
  std::error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
}

void TlsStream::say_goodbye() {
  const bool said = (SSL_get_shutdown(ssl_.get()) & SSL_SENT_SHUTDOWN) != 0;
  if (failure_ || said || SSL_is_init_finished(ssl_.get()) != 1) return;
  ERR_clear_error();
  SSL_shutdown(ssl_.get());
}

/// What came of OpenSSL's last call, which returned `result`.
std::error_code TlsStream::outcome(int result) {
  if (failure_) return failure_;
  wants_write_ = false;
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_NONE:
      return {};
    case SSL_ERROR_WANT_WRITE:
      wants_write_ = true;
      return asio::error::would_block;
    case SSL_ERROR_WANT_READ:
      return asio::error::would_block;
    case SSL_ERROR_ZERO_RETURN:
      return asio::error::eof;
    case SSL_ERROR_SYSCALL:
      if (base::was_cut_off(ssl_.get())) transport_error_ = tls_error(SSL_R_UNEXPECTED_MESSAGE);
      failure_ = transport_error_ ? transport_error_ : asio::error::eof;
      return failure_;
    default: {
      const unsigned long code = ERR_peek_error();
      failure_ = std::make_error_code(std::errc::protocol_error);
      if (code != 0) failure_.assign(static_cast<int>(code), asio::error::get_ssl_category());
      return failure_;
    }
  }
}

}  // namespace dflockd::net
