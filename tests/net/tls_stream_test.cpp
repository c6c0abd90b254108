// A stream whose peer is OpenSSL's own client over a connection of the loopback. The client's
// socket blocks, and is on the same thread: so it does only what cannot wait.

#include "net/tls_stream.hpp"

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/write.hpp>
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "support/certificates.hpp"

namespace dflockd::net {

namespace {

using asio::ip::tcp;
using test::Authority;
using test::IdentityFiles;
using test::TemporaryDirectory;

/// A TLS client whose records the test carries.
class Peer {
 public:
  explicit Peer(net::Socket socket) : socket_(std::move(socket)) {
    const std::unique_ptr<SSL_CTX, SslDeleter> context(SSL_CTX_new(TLS_client_method()));
    ssl_.reset(SSL_new(context.get()));
    SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl_.get());
  }

  [[nodiscard]] net::Socket& socket() { return socket_; }
  [[nodiscard]] bool shake_hands() { return SSL_do_handshake(ssl_.get()) == 1; }

  /// The records that OpenSSL has written.
  std::string written() {
    std::string bytes(BIO_ctrl_pending(SSL_get_wbio(ssl_.get())), '\0');
    if (!bytes.empty()) {
      BIO_read(SSL_get_wbio(ssl_.get()), bytes.data(), static_cast<int>(bytes.size()));
    }
    return bytes;
  }
  std::string encrypted(std::string_view text) {
    SSL_write(ssl_.get(), text.data(), static_cast<int>(text.size()));
    return written();
  }
  std::string goodbye() {
    SSL_shutdown(ssl_.get());
    return written();
  }
  void send(std::string_view bytes) { asio::write(socket_, asio::buffer(bytes)); }

  /// Takes what has arrived, without waiting. False at the end of the connection.
  bool receive() {
    std::array<char, 65'536> bytes{};
    std::error_code error;
    socket_.non_blocking(true);
    const std::size_t size = socket_.read_some(asio::buffer(bytes), error);
    socket_.non_blocking(false);
    BIO_write(SSL_get_rbio(ssl_.get()), bytes.data(), static_cast<int>(size));
    return !error || error == asio::error::would_block;
  }
  /// What can be decrypted of it.
  std::string decrypted() {
    std::string text;
    std::array<char, 16'384> bytes{};
    std::size_t size = 0;
    while (SSL_read_ex(ssl_.get(), bytes.data(), bytes.size(), &size) == 1) {
      text.append(bytes.data(), size);
    }
    return text;
  }
  [[nodiscard]] bool heard_goodbye() const {
    return (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
  }

 private:
  net::Socket socket_;
  Ssl ssl_;
};

class Stream : public testing::Test {
 protected:
  Stream() {
    const TemporaryDirectory directory;
    const IdentityFiles files = directory.write("server", Authority().issue());
    context_.emplace(
        TlsContext::load({.certificate = files.certificate, .key = files.key, .client_ca = {}}));
    net::Acceptor acceptor(io_.get_executor(), tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    net::Socket client(io_.get_executor());
    client.open(tcp::v4());
    // So small that little is on its way.
    client.set_option(asio::socket_base::receive_buffer_size(4'096));
    client.connect(acceptor.local_endpoint());
    net::Socket socket = acceptor.accept();
    socket.non_blocking(true);
    socket.set_option(asio::socket_base::send_buffer_size(65'536));
    client.set_option(tcp::no_delay(true));
    peer_.emplace(std::move(client));
    stream_.emplace(TlsStream::Origin{std::move(socket), context_->accept()});
  }

  /// Runs what is ready to run.
  void poll() {
    io_.restart();
    io_.poll();
  }

  /// Runs until `condition` is true. The peer takes what has arrived meanwhile.
  template <class Condition>
  void run_until(Condition&& condition) {
    for (int turn = 0; turn < 1'000'000; ++turn) {
      poll();
      if (condition()) return;
    }
    throw std::runtime_error("it does not happen");
  }

  /// Starts an operation, whose result is there when `result` is.
  template <class Operation>
  void start(Operation operation) {
    asio::co_spawn(io_.get_executor(), std::move(operation), [](const std::exception_ptr& failure) {
      if (failure) std::rethrow_exception(failure);
    });
  }

  void start_handshake(std::optional<std::error_code>& result) {
    start([this, &result]() -> net::Awaitable {
      std::error_code error;
      co_await stream_->handshake(error);
      result = error;
    });
  }

  void shake_hands() {
    std::optional<std::error_code> result;
    start_handshake(result);
    bool done = false;
    run_until([&] {
      peer_->receive();
      done = done || peer_->shake_hands();
      if (const std::string records = peer_->written(); !records.empty()) peer_->send(records);
      return done && result;
    });
    ASSERT_FALSE(*result) << result->message();
  }

  /// What came of a read.
  struct Reading {
    std::array<char, 256> space{};
    std::error_code error;
    std::optional<std::size_t> size;

    [[nodiscard]] std::string_view text() const { return {space.data(), size.value_or(0)}; }
  };
  void start_reading(Reading& reading) {
    start([this, &reading]() -> net::Awaitable {
      const std::size_t size = co_await stream_->async_read_some(reading.space, reading.error);
      reading.size = size;
    });
    poll();
  }

  /// What came of a write.
  struct Writing {
    std::error_code error;
    std::optional<std::size_t> size;
  };
  template <std::size_t kBuffers>
  void start_writing(Writing& writing, const std::array<asio::const_buffer, kBuffers>& buffers) {
    start([this, &writing, &buffers]() -> net::Awaitable {
      const std::size_t size = co_await stream_->async_write(buffers, writing.error);
      writing.size = size;
    });
    poll();
  }

  /// Has the peer take what has arrived, which is in `heard_` then. False at the end.
  bool hear() {
    const bool open = peer_->receive();
    heard_ += peer_->decrypted();
    return open;
  }

  std::string read_now(std::error_code& error) {
    std::array<char, 256> space{};
    return {space.data(), stream_->read_some(space, error)};
  }

  /// Writes `text` again and again until there is no more room, and returns how much was taken.
  std::size_t fill(std::string_view text) {
    std::size_t size = 0;
    std::error_code error;
    while (!error) size += stream_->write_some(text.substr(size % text.size()), error);
    EXPECT_EQ(error, asio::error::would_block);
    return size;
  }

  asio::io_context io_{ASIO_CONCURRENCY_HINT_UNSAFE};
  std::optional<TlsContext> context_;
  std::optional<Peer> peer_;
  std::optional<TlsStream> stream_;
  std::string heard_;
};

/// A text in which every place is told from its neighbours.
std::string numbers(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += std::to_string(i) + "\n";
  return text;
}

// --- Reading ---

TEST_F(Stream, reads_what_has_come) {
  shake_hands();
  std::error_code error;
  EXPECT_EQ(read_now(error), "");
  EXPECT_EQ(error, asio::error::would_block);
  peer_->send(peer_->encrypted("ping"));
  run_until([&] { return stream_->has_unread(); });
  EXPECT_EQ(read_now(error), "ping");
  EXPECT_FALSE(error);
  EXPECT_FALSE(stream_->has_unread());
}

TEST_F(Stream, waits_for_something_to_read) {
  shake_hands();
  Reading reading;
  start_reading(reading);
  EXPECT_FALSE(reading.size);
  peer_->send(peer_->encrypted("ping"));
  run_until([&] { return reading.size.has_value(); });
  EXPECT_EQ(reading.text(), "ping");
  EXPECT_FALSE(reading.error);
}

TEST_F(Stream, reads_many_records_at_once_and_what_has_no_room_later) {
  shake_hands();
  std::string records;
  for (int i = 0; i < 100; ++i) records += peer_->encrypted("0123456789");
  peer_->send(records);
  run_until([&] { return stream_->socket().available() == records.size(); });
  for (int i = 0; i < 3; ++i) {
    Reading reading;
    start_reading(reading);
    run_until([&] { return reading.size.has_value(); });
    EXPECT_EQ(*reading.size, reading.space.size());
  }
  Reading reading;
  start_reading(reading);
  run_until([&] { return reading.size.has_value(); });
  EXPECT_EQ(*reading.size, 1'000 - 3 * reading.space.size());
}

TEST_F(Stream, returns_nothing_for_a_part_of_a_record_and_the_whole_when_the_rest_has_come) {
  shake_hands();
  const std::string record = peer_->encrypted("ping");
  Reading part;
  start_reading(part);
  peer_->send(std::string_view(record).substr(0, 10));
  run_until([&] { return part.size.has_value(); });
  EXPECT_EQ(*part.size, 0U);
  EXPECT_EQ(part.error, asio::error::would_block);
  EXPECT_FALSE(stream_->has_unread());
  Reading rest;
  start_reading(rest);
  EXPECT_FALSE(rest.size);
  peer_->send(std::string_view(record).substr(10));
  run_until([&] { return rest.size.has_value(); });
  EXPECT_EQ(rest.text(), "ping");
}

TEST_F(Stream, interrupted_while_it_waits_loses_nothing) {
  shake_hands();
  const std::string record = peer_->encrypted("ping");
  peer_->send(std::string_view(record).substr(0, 10));
  for (int round = 0; round < 3; ++round) {
    Reading reading;
    start_reading(reading);
    stream_->socket().cancel();
    run_until([&] { return reading.size.has_value(); });
    EXPECT_EQ(*reading.size, 0U);
    EXPECT_TRUE(reading.error == asio::error::operation_aborted ||
                reading.error == asio::error::would_block);
  }
  peer_->send(std::string_view(record).substr(10));
  Reading reading;
  for (; reading.size.value_or(0) == 0; poll()) {
    reading = {};
    start_reading(reading);
    run_until([&] { return reading.size.has_value(); });
  }
  EXPECT_EQ(reading.text(), "ping");
}

TEST_F(Stream, tells_the_end_again_and_again_after_what_came_before_it) {
  shake_hands();
  std::string records = peer_->encrypted("ping");
  records += peer_->goodbye();
  peer_->send(records);
  run_until([&] { return stream_->socket().available() == records.size(); });
  std::error_code error;
  EXPECT_EQ(read_now(error), "ping");
  EXPECT_FALSE(error);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(read_now(error), "");
    EXPECT_EQ(error, asio::error::eof);
  }
  EXPECT_EQ(stream_->write_some("still heard", error), 11U) << error.message();
  run_until([&] { return peer_->receive() && peer_->decrypted() == "still heard"; });
}

TEST_F(Stream, takes_the_end_of_the_connection_without_a_goodbye_as_the_end) {
  shake_hands();
  peer_->send(peer_->encrypted("ping"));
  peer_->socket().shutdown(net::Socket::shutdown_send);
  Reading reading;
  start_reading(reading);
  run_until([&] { return reading.size.has_value(); });
  EXPECT_EQ(reading.text(), "ping");
  std::error_code error;
  run_until([&] {
    EXPECT_EQ(read_now(error), "");
    return error != asio::error::would_block;
  });
  EXPECT_EQ(error, asio::error::eof);
}

TEST_F(Stream, takes_a_reset_as_an_error) {
  shake_hands();
  peer_->socket().set_option(asio::socket_base::linger(true, 0));
  peer_->socket().close();
  Reading reading;
  start_reading(reading);
  run_until([&] { return reading.size.has_value(); });
  EXPECT_EQ(reading.error, std::errc::connection_reset);
}

TEST_F(Stream, fails_for_good_on_a_record_that_was_tampered_with) {
  shake_hands();
  std::string record = peer_->encrypted("ping");
  record.back() = static_cast<char>(record.back() ^ 1);
  peer_->send(record + std::string(20, '\0'));
  std::error_code error;
  run_until([&] {
    EXPECT_EQ(read_now(error), "");
    return error != asio::error::would_block;
  });
  EXPECT_NE(error, asio::error::eof);
  std::error_code writing;
  EXPECT_EQ(stream_->write_some("too late", writing), 0U);
  EXPECT_EQ(writing, error);
}

// --- Writing ---

TEST_F(Stream, writes_what_there_is_room_for_and_goes_on_with_the_same_bytes) {
  shake_hands();
  const std::string text = numbers(300'000);
  std::error_code error;
  std::size_t written = stream_->write_some(text, error);
  EXPECT_EQ(error, asio::error::would_block);
  EXPECT_LT(written, text.size());
  while (written < text.size()) {
    hear();
    // From another place in memory, as when a buffer has grown.
    const std::string moved(std::string_view(text).substr(written, 200'000));
    written += stream_->write_some(moved, error);
    ASSERT_TRUE(!error || error == asio::error::would_block) << error.message();
  }
  run_until([&] { return hear() && heard_.size() >= text.size(); });
  EXPECT_TRUE(heard_ == text);
}

TEST_F(Stream, has_written_exactly_what_the_peer_can_decrypt) {
  shake_hands();
  const std::size_t written = fill(numbers(1'000));
  stream_.reset();
  run_until([&] { return !hear(); });
  EXPECT_EQ(heard_.size(), written);
}

TEST_F(Stream, writes_all_while_the_peer_reads) {
  shake_hands();
  const std::string text = numbers(300'000);
  const std::array<asio::const_buffer, 3> buffers{
      asio::buffer(text), asio::buffer(std::string_view()), asio::buffer(text)};
  Writing writing;
  start_writing(writing, buffers);
  run_until([&] { return hear() && writing.size && heard_.size() >= 2 * text.size(); });
  EXPECT_FALSE(writing.error) << writing.error.message();
  EXPECT_EQ(*writing.size, 2 * text.size());
  EXPECT_TRUE(heard_ == text + text);
}

TEST_F(Stream, reads_while_it_waits_to_write) {
  shake_hands();
  const std::string text = numbers(300'000);
  const std::array<asio::const_buffer, 1> buffers{asio::buffer(text)};
  Writing writing;
  start_writing(writing, buffers);
  peer_->send(peer_->encrypted("ping"));
  run_until([&] { return stream_->has_unread(); });
  std::error_code reading;
  EXPECT_EQ(read_now(reading), "ping");
  EXPECT_FALSE(writing.size);
  run_until([&] { return hear() && writing.size && heard_.size() >= text.size(); });
  EXPECT_TRUE(heard_ == text);
}

TEST_F(Stream, whose_socket_is_closed_while_it_writes_says_how_much_it_has_written) {
  shake_hands();
  const std::string text = numbers(300'000);
  const std::array<asio::const_buffer, 1> buffers{asio::buffer(text)};
  Writing writing;
  start_writing(writing, buffers);
  stream_->socket().close();
  run_until([&] { return writing.size.has_value(); });
  EXPECT_TRUE(writing.error);
  EXPECT_LT(*writing.size, text.size());
}

// --- The handshake and the end ---

TEST_F(Stream, handshake_is_interrupted_by_closing) {
  std::optional<std::error_code> result;
  start_handshake(result);
  poll();
  EXPECT_FALSE(result);
  stream_->socket().close();
  run_until([&] { return result.has_value(); });
  EXPECT_EQ(*result, asio::error::operation_aborted);
}

TEST_F(Stream, handshake_says_why_it_failed) {
  for (const auto& [sent, why] :
       {std::pair("ping\n_\n_\n", "plain text where TLS was expected"),
        std::pair("GET / HTTP/1.1\r\n\r\n", "plain text where TLS was expected"),
        std::pair("CONNECT a:1 HTTP/1.1\r\n\r\n", "plain text where TLS was expected"),
        std::pair("", "the peer left")}) {
    SCOPED_TRACE(sent);
    net::Acceptor acceptor(io_.get_executor(), tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    net::Socket client(io_.get_executor());
    client.connect(acceptor.local_endpoint());
    net::Socket socket = acceptor.accept();
    socket.non_blocking(true);
    stream_.emplace(TlsStream::Origin{std::move(socket), context_->accept()});
    asio::write(client, asio::buffer(std::string_view(sent)));
    client.shutdown(net::Socket::shutdown_send);
    std::optional<std::error_code> result;
    start_handshake(result);
    run_until([&] { return result.has_value(); });
    EXPECT_EQ(TlsStream::why(*result), why);
  }
}

TEST_F(Stream, says_goodbye_when_it_ends_sending) {
  shake_hands();
  stream_->end_sending();
  run_until([&] { return hear() && peer_->heard_goodbye(); });
  stream_.reset();  // which says nothing more
  run_until([&] { return !peer_->receive(); });
}

TEST_F(Stream, says_goodbye_when_it_is_destroyed) {
  shake_hands();
  stream_.reset();
  run_until([&] {
    hear();
    return peer_->heard_goodbye();
  });
}

// Then it is cut off, and the peer must be able to tell.
TEST_F(Stream, says_no_goodbye_in_the_middle_of_a_record) {
  shake_hands();
  fill(numbers(1'000));
  stream_.reset();
  run_until([&] { return !hear(); });
  EXPECT_FALSE(peer_->heard_goodbye());
}

}  // namespace

}  // namespace dflockd::net
