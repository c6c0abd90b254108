#include "support/simulated_stream.hpp"

#include <algorithm>
#include <cstring>

namespace dflockd::net {

void SimulatedWire::arrive(std::string_view bytes) {
  if (closed_) return;
  unread_ += bytes;
  go_on();
}

void SimulatedWire::shut(bool seen) {
  shut_ = true;
  if (seen) go_on();
}

void SimulatedWire::reset() {
  reset_ = true;
  unread_.clear();
  go_on();
}

void SimulatedWire::set_room(std::size_t size) {
  room_ = size;
  go_on();
}

void SimulatedWire::end_pause() {
  if (pause_ != nullptr) std::exchange(pause_, nullptr)->complete({}, 0);
}

std::size_t SimulatedWire::read(std::span<char> space, std::error_code& error) {
  error = {};
  if (closed_)
    error = asio::error::bad_descriptor;
  else if (reset_)
    error = asio::error::connection_reset;
  else if (unread_.empty() && shut_)
    error = asio::error::eof;
  else if (unread_.empty())
    error = asio::error::would_block;
  if (error) return 0;
  const std::size_t size = std::min({space.size(), unread_.size(), most_at_once});
  if (on_read) on_read(std::string_view(unread_).substr(0, size));
  std::memcpy(space.data(), unread_.data(), size);
  unread_.erase(0, size);
  return size;
}

std::size_t SimulatedWire::write(std::string_view bytes, std::error_code& error) {
  error = {};
  if (closed_)
    error = asio::error::bad_descriptor;
  else if (reset_)
    error = asio::error::broken_pipe;
  else if (room_ == 0)
    error = asio::error::would_block;
  if (error) return 0;
  const std::size_t size = std::min({bytes.size(), room_, most_at_once});
  if (on_write) on_write(bytes.substr(0, size));
  sent += bytes.substr(0, size);
  if (room_ != SIZE_MAX) room_ -= size;
  return size;
}

/// Has what waits go on as far as it goes.
void SimulatedWire::go_on() {
  if (reader_ != nullptr) {
    std::error_code error;
    const std::size_t size = read(space_, error);
    if (error != asio::error::would_block) finish_reading(error, size);
  }
  while (writer_ != nullptr) {
    std::error_code error;
    written_ += write(std::string_view(to_write_).substr(written_), error);
    if (error == asio::error::would_block) return;
    if (error || written_ == to_write_.size()) finish_writing(error);
  }
}

void SimulatedWire::finish_reading(std::error_code error, std::size_t size) {
  std::exchange(reader_, nullptr)->complete(error, size);
}

void SimulatedWire::finish_writing(std::error_code error) {
  std::exchange(writer_, nullptr)->complete(error, written_);
}

void SimulatedWire::interrupt() {
  if (reader_ != nullptr) finish_reading(asio::error::operation_aborted, 0);
  if (writer_ != nullptr) finish_writing(asio::error::operation_aborted);
}

void SimulatedStream::close() {
  wire_->closed_ = true;
  wire_->interrupt();
}

}  // namespace dflockd::net
