// A client of the line protocol that does what a test tells it, correct or not.
//
//   Client client(server);
//   const Grant grant = client.hold(lock("job"));
//   EXPECT_EQ(client.release(lock("job"), grant.token), "ok");
//
// Every wait has a deadline. Whatever the test did not ask for (a reply that does not come, a
// connection lost, a grant refused) is a `std::runtime_error`, which fails the test.
#pragma once

#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/deadlines.hpp"
#include "support/server.hpp"

namespace dflockd::test {

/// A key in one of the two namespaces, and how its commands are spelled.
struct Key {
  std::string name;
  /// The limit to ask for; a lock has none.
  std::optional<std::uint32_t> limit{};
  bool shared = false;  ///< to be asked for shared

  /// "l" becomes "sl" for a semaphore, and "rl" if shared.
  [[nodiscard]] std::string command(std::string_view letter) const;
  /// The arguments of `l` or `e`, with the limit where it belongs.
  [[nodiscard]] std::string arguments(std::optional<std::int64_t> timeout,
                                      std::optional<std::int64_t> lease) const;
};

Key lock(std::string name);
Key shared_lock(std::string name);
Key semaphore(std::string name, std::uint32_t limit);

/// "ok <token> <lease_ttl>" or "acquired <token> <lease_ttl>", taken apart.
struct Grant {
  std::string token;
  std::int64_t lease = 0;  ///< seconds

  /// The fence, which is the first half of the token.
  [[nodiscard]] std::uint64_t fence() const;
};

/// The grant in a reply to `l` or `w`, and in one to `e`. The reply must be exactly of that shape,
/// with a token of 32 lowercase hex characters.
Grant granted(const std::string& reply);
Grant acquired(const std::string& reply);

/// The bytes of one request.
std::string request_bytes(std::string_view command, std::string_view key,
                          std::string_view argument);

/// Bytes that come again and again.
std::string repeated(std::size_t count, std::string_view bytes);

/// How a client reaches the server, where that matters: addresses of the same family.
struct Route {
  std::string from{};    ///< the client's address: any of 127.0.0.0/8 is there; empty for any
  std::string to{};      ///< the server's; empty for the one that it says it listens on
  std::uint16_t port{};  ///< the server's; 0 for that of the line protocol
};

class Client {
 public:
  /// Connects to the server. With `receive_buffer`, in bytes, the client and the connection take in
  /// little that the client has not been told to read.
  explicit Client(const Server& server, std::optional<int> receive_buffer = {});
  Client(const Server& server, const Route& route);
  Client(Client&& other) noexcept;
  Client& operator=(Client&&) = delete;
  virtual ~Client();

  // --- Bytes and lines ---

  /// Sends all of it.
  void send(std::string_view bytes);
  /// Sends what the connection takes within `patience`, and returns how many bytes that were.
  virtual std::size_t send_some(std::string_view bytes, Duration patience);
  /// Sends one request and does not wait for the reply.
  void request(std::string_view command, std::string_view key, std::string_view argument);
  /// The next line, without its line end.
  std::string read_line(Duration patience = kPatience);
  /// The next `size` bytes.
  std::string read_bytes(std::size_t size, Duration patience = kPatience);
  /// Everything until the server closes the connection, by end of file or reset.
  std::string read_to_end(Duration patience = kPatience);
  /// The whole lines that arrive until nothing has for as long as `quiet`.
  std::vector<std::string> read_lines(Duration quiet);
  /// True if something has arrived that has not been read: bytes or the end.
  virtual bool has_input();
  /// Sends one request and returns its reply.
  std::string ask(std::string_view command, std::string_view key, std::string_view argument);

  // --- Requests, with their replies ---

  std::string ping() { return ask("ping", "_", "_"); }
  std::string acquire(const Key& key, std::int64_t timeout, std::optional<std::int64_t> lease = {});
  std::string release(const Key& key, const std::string& token);
  std::string renew(const Key& key, const std::string& token,
                    std::optional<std::int64_t> lease = {});
  std::string enqueue(const Key& key, std::optional<std::int64_t> lease = {});
  std::string wait(const Key& key, std::int64_t timeout);

  /// Acquires a free slot.
  Grant hold(const Key& key, std::int64_t lease = 60);
  /// Acquires locks named `name` and a number from 0 on, for an hour, many requests at a time.
  std::vector<Grant> hold_many(const std::string& name, std::size_t count);

  // --- Requests that block ---

  void begin_acquire(const Key& key, std::int64_t timeout = 60, std::int64_t lease = 60);
  void begin_wait(const Key& key, std::int64_t timeout = 60);
  /// The reply to a request that blocked, which must be a grant.
  Grant read_grant(Duration patience = kPatience) { return granted(read_line(patience)); }

  // --- Leaving ---

  /// Closes the connection.
  void close();
  /// Ends this direction only: the server reads an end of file, replies still arrive.
  virtual void half_close();
  /// Resets the connection.
  void reset();

  /// From now on nothing that the server sends arrives, and nothing answers it: as a machine that
  /// has lost its power, or a network that is cut. The client must send nothing more, nor leave
  /// while the test goes on.
  void vanish() const;

  /// This end of the connection, as `stats` shows it for IPv4: "127.0.0.1:40312".
  [[nodiscard]] std::string local_endpoint() const;

 protected:
  [[nodiscard]] bool has_unread() const { return read_ < unread_.size(); }
  bool wait_for(short events, Clock::time_point deadline) const;
  /// Appends what arrives to what is unread. False at the end; throws if nothing has come by the
  /// deadline.
  virtual bool receive(Clock::time_point deadline);
  /// The next bytes from the socket, nothing yet, or the end.
  enum class Arrival { kBytes, kNothing, kEnd };
  Arrival receive_raw(std::string& bytes);
  void append_unread(std::string_view bytes);

 private:
  int socket_ = -1;
  std::string unread_;
  std::size_t read_ = 0;  ///< how much of `unread_` has been read after all
};

/// As many clients as asked for. They need a descriptor each, here and in the server: see
/// `allow_many_connections`.
std::vector<Client> connect_many(const Server& server, std::size_t count, const Route& route = {});

/// Raises this process's limit on descriptors, which servers started later inherit.
void allow_many_connections();

/// Asks the server to drain, and waits until it does.
void drain(Server& server, int signal = SIGTERM);

}  // namespace dflockd::test
