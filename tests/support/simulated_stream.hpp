// A stream without a socket, for pumps in memory: what arrives, what is sent and what goes wrong is
// up to whoever has the other end.
//
//   auto wire = std::make_shared<SimulatedWire>();
//   Pump<SimulatedStream> pump(room, watch, pass, {context, wire}, most_input);
//   wire->arrive("ping\n_\n\n");   // and have the context run
//   wire->sent;                     // what the pump has sent
//
// The same moves give the same run: completions are posted to the context, and nothing else is
// waited for.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <asio/async_result.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>

#include "net/net.hpp"
#include "net/pump.hpp"

namespace dflockd::net {

/// Both ends of a connection, without what is between them. Outlives the stream.
class SimulatedWire {
 public:
  // --- The peer's end ---

  /// Bytes reach the server's system.
  void arrive(std::string_view bytes);
  /// The peer sends no more. If not `seen`, a reception under way does not end by that, as one does
  /// not that has emptied the socket: somebody has to notice.
  void shut(bool seen = true);
  /// The connection is broken: nothing more is read, and nothing is taken.
  void reset();
  /// The peer takes no more than so many bytes from now on.
  void set_room(std::size_t size);
  /// A pause of the server's is over.
  void end_pause();

  /// What was sent; whoever reads it may take it out.
  std::string sent;
  /// At most so many bytes are read or written at once.
  std::size_t most_at_once = SIZE_MAX;
  /// Are told, if they are set, of what is read, of what is written, and of a pause.
  std::function<void(std::string_view)> on_read;
  std::function<void(std::string_view)> on_write;
  std::function<void(std::chrono::milliseconds)> on_pause;

  [[nodiscard]] bool is_shut() const { return shut_; }
  [[nodiscard]] bool is_reset() const { return reset_; }
  [[nodiscard]] std::size_t room() const { return room_; }
  /// What has arrived and was not read.
  [[nodiscard]] std::string_view unread() const { return unread_; }
  /// The server sends no more, or has closed its end.
  [[nodiscard]] bool sending_ended() const { return sending_ended_; }
  [[nodiscard]] bool closed() const { return closed_; }

 private:
  friend class SimulatedStream;

  /// An operation that is under way.
  struct Operation {
    virtual ~Operation() = default;
    virtual void complete(std::error_code error, std::size_t size) = 0;
  };
  std::size_t read(std::span<char> space, std::error_code& error);
  std::size_t write(std::string_view bytes, std::error_code& error);
  void go_on();
  void finish_reading(std::error_code error, std::size_t size);
  void finish_writing(std::error_code error);
  void interrupt();

  std::string unread_;
  std::size_t room_ = SIZE_MAX;
  bool shut_ = false;
  bool reset_ = false;
  bool sending_ended_ = false;
  bool closed_ = false;
  std::span<char> space_;              ///< of the reader
  std::unique_ptr<Operation> reader_;  ///< if one waits
  std::string to_write_;               ///< of the writer
  std::size_t written_ = 0;
  std::unique_ptr<Operation> writer_;
  std::unique_ptr<Operation> pause_;
};

class SimulatedStream {
 private:
  template <class Handler>
  struct OperationFor final : SimulatedWire::Operation {
    OperationFor(asio::io_context& its_context, Handler&& to_call)
        : context(its_context), handler(std::move(to_call)) {}
    void complete(std::error_code error, std::size_t size) override {
      asio::post(context, [handler = std::move(handler), error, size]() mutable {
        std::move(handler)(error, size);
      });
    }
    asio::io_context& context;
    Handler handler;
  };

  /// Hands the operation's end to `begin`, and has what is there already move.
  template <class Begin>
  auto start(Begin begin, std::error_code& error) {
    auto token = into(error);
    return asio::async_initiate<decltype(token), void(std::error_code, std::size_t)>(
        [this, begin = std::move(begin)](auto handler) {
          using Handler = decltype(handler);
          begin(std::make_unique<OperationFor<Handler>>(context_, std::move(handler)));
          wire_->go_on();
        },
        token);
  }

 public:
  static constexpr bool kBeginsWithHandshake = false;

  struct Origin {
    asio::io_context& context;
    std::shared_ptr<SimulatedWire> wire;
  };

  explicit SimulatedStream(Origin origin)
      : context_(origin.context), wire_(std::move(origin.wire)) {}
  SimulatedStream(const SimulatedStream&) = delete;
  SimulatedStream& operator=(const SimulatedStream&) = delete;
  ~SimulatedStream() { close(); }

  [[nodiscard]] static int descriptor() { return -1; }
  [[nodiscard]] static std::string local_address() { return "127.0.0.1"; }
  [[nodiscard]] bool peer_gone() const { return wire_->shut_ || wire_->reset_; }
  [[nodiscard]] auto wait_for(std::chrono::milliseconds time) {
    return start(
        [this, time](auto operation) {
          wire_->pause_ = std::move(operation);
          if (wire_->on_pause) wire_->on_pause(time);
        },
        ignored_);
  }
  void cancel() { wire_->interrupt(); }
  void close();
  void end_sending() { wire_->sending_ended_ = true; }

  [[nodiscard]] bool has_unread() const { return has_arrivals(); }
  [[nodiscard]] bool has_arrivals() const { return !wire_->unread_.empty(); }

  [[nodiscard]] auto async_read_some(std::span<char> space, std::error_code& error) {
    return start(
        [this, space](auto operation) {
          wire_->space_ = space;
          wire_->reader_ = std::move(operation);
        },
        error);
  }
  std::size_t read_some(std::span<char> space, std::error_code& error) {
    return wire_->read(space, error);
  }
  [[nodiscard]] auto async_discard_some(std::span<char> space, std::error_code& error) {
    return async_read_some(space, error);
  }
  std::size_t discard_some(std::span<char> space, std::error_code& error) {
    return wire_->read(space, error);
  }

  std::size_t write_some(std::string_view bytes, std::error_code& error) {
    return wire_->write(bytes, error);
  }
  template <class Buffers>
  [[nodiscard]] auto async_write(const Buffers& buffers, std::error_code& error) {
    std::string bytes;
    for (auto at = asio::buffer_sequence_begin(buffers); at != asio::buffer_sequence_end(buffers);
         ++at) {
      bytes.append(static_cast<const char*>(at->data()), at->size());
    }
    return start(
        [this, bytes = std::move(bytes)](auto operation) {
          wire_->to_write_ = bytes;
          wire_->written_ = 0;
          wire_->writer_ = std::move(operation);
        },
        error);
  }

 private:
  asio::io_context& context_;
  const std::shared_ptr<SimulatedWire> wire_;
  std::error_code ignored_;
};

extern template class Pump<SimulatedStream>;

}  // namespace dflockd::net
