// What a peer may cost: the groups of keys, the size of what it says in a handshake, and how much
// it may send that is no data. And who is trusted, of those that a trust file names.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "support/log.hpp"
#include "support/tls_client.hpp"
#include "support/tls_server.hpp"

namespace dflockd::test {

namespace {

// --- "TLS: elliptic groups only (X25519, P-256, P-384)" ---

TlsOptions with_groups(const TlsServer& server, std::string groups) {
  TlsOptions options = server.trusting(TLS1_3_VERSION);
  options.groups = std::move(groups);
  return options;
}

TEST(TlsGroups, of_finite_fields_and_other_curves_are_refused) {
  const TlsServer server;
  for (const char* group :
       {"ffdhe2048", "ffdhe3072", "ffdhe4096", "ffdhe6144", "ffdhe8192", "P-521", "X448"}) {
    EXPECT_TRUE(failure_of(server, with_groups(server, group)).ends_with("alert handshake failure"))
        << group;
  }
  EXPECT_EQ(failure_of(server, server.trusting()), "");
}

TEST(TlsGroups, of_elliptic_curves_are_agreed_on) {
  const TlsServer server;
  for (const char* group : {"X25519", "P-256", "P-384"}) {
    EXPECT_EQ(failure_of(server, with_groups(server, group)), "") << group;
  }
}

TEST(TlsGroups, elliptic_one_is_agreed_on_with_a_client_that_prefers_a_finite_field) {
  const TlsServer server;
  EXPECT_EQ(failure_of(server, with_groups(server, "ffdhe8192:X25519")), "");
}

// --- "A handshake message larger than 16 KiB" ---

void append_number(std::string& out, std::size_t value, int bytes) {
  while (bytes-- > 0) out += static_cast<char>(value >> 8 * bytes & 0xff);
}

std::size_t number_at(std::string_view bytes, std::size_t at) {
  return static_cast<std::size_t>(static_cast<unsigned char>(bytes[at])) << 8U |
         static_cast<unsigned char>(bytes[at + 1]);
}

constexpr std::size_t kRecordHeader = 5;
constexpr std::size_t kMessageHeader = 4;
constexpr std::size_t kLargest = 16'384;

/// A ClientHello whose body has `size` bytes, of which the last extension pads it.
std::string padded_hello(std::size_t size) {
  TlsOptions options;
  options.groups = "X25519";
  const std::string hello = client_hello(options).substr(kRecordHeader + kMessageHeader);
  std::size_t at = 2 + 32;                          // version, random
  at += 1 + static_cast<unsigned char>(hello[at]);  // session
  at += 2 + number_at(hello, at);                   // suites
  at += 1 + static_cast<unsigned char>(hello[at]);  // compression
  constexpr std::size_t kPadding = 21;
  const std::size_t padding = size - hello.size() - 4;
  std::string message("\x01");
  append_number(message, size, 3);
  message += hello.substr(0, at);
  append_number(message, number_at(hello, at) + 4 + padding, 2);
  message += hello.substr(at + 2);
  append_number(message, kPadding, 2);
  append_number(message, padding, 2);
  return message + std::string(padding, '\0');
}

/// `message` in records of `size` bytes.
std::string in_records(std::string_view message, std::size_t size) {
  std::string records;
  for (; !message.empty(); message.remove_prefix(std::min(size, message.size()))) {
    records += {22, 3, 1};
    append_number(records, std::min(size, message.size()), 2);
    records += message.substr(0, size);
  }
  return records;
}

const std::string kIllegalParameter("\x15\x03\x01\x00\x02\x02\x2f", 7);

TEST(TlsHello, of_16_kib_is_answered) {
  const TlsServer server;
  for (const std::size_t size : {std::size_t{1}, std::size_t{100}, std::size_t{16'000}}) {
    Client client(server);
    client.send(in_records(padded_hello(kLargest), size));
    EXPECT_EQ(client.read_bytes(1), "\x16") << "a ServerHello, to records of " << size;
  }
}

TEST(TlsHello, of_more_is_refused_as_soon_as_it_says_so) {
  const TlsServer server;
  const std::string hello = padded_hello(kLargest + 1);
  std::vector<std::string> all{in_records(hello, 16'000)};
  for (const std::size_t size : {std::size_t{1}, std::size_t{3}, std::size_t{4}}) {
    all.push_back(in_records(std::string_view(hello).substr(0, 4), size));
  }
  for (const std::string& sent : all) {
    Client client(server);
    client.send(sent);
    EXPECT_EQ(client.read_to_end(), kIllegalParameter);
  }
  const auto line = server.wait_for_log_line("warn tls_handshake_failed");
  ASSERT_TRUE(line) << server.log();
  EXPECT_NE(line->find("a handshake message is over 16 KiB long"), std::string::npos) << *line;
}

TEST(TlsHello, of_more_is_refused_the_second_time_too) {
  const TlsServer server;
  TlsOptions options;
  options.groups = "ffdhe2048:X25519";  // so that the server asks for another
  const std::string ask_again = client_hello(options);
  const std::string second = in_records(padded_hello(kLargest + 1).substr(0, 100), 100);
  const std::string change_cipher_spec("\x14\x03\x03\x00\x01\x01", 6);
  for (const std::string& sent : {ask_again + second, ask_again + change_cipher_spec + second}) {
    Client client(server);
    client.send(ask_again);
    EXPECT_EQ(client.read_bytes(1), "\x16");
    client.send(sent.substr(ask_again.size()));
    client.read_to_end();
  }
  EXPECT_TRUE(eventually([&] {
    return told(server.log(), "a handshake message is over 16 KiB long") +
               told(server.log(), "more_of_them") ==
           2;
  })) << server.log();
}

class TlsMessages : public OfEachVersion {};
FOR_EACH_VERSION(TlsMessages);

TEST_P(TlsMessages, certificates_of_more_than_16_kib_are_refused) {
  const TemporaryDirectory directory;
  const Authority clients("Clients");
  const TlsServer server({"--tls-client-ca", directory.write("clients.crt", clients.pem())});
  Identity identity = clients.issue(client_request("worker"));
  TlsOptions options = server.trusting(GetParam());
  options.identity = &identity;
  for (int i = 0; i < 5; ++i) identity.chain.push_back(clients.issue().certificate);
  EXPECT_EQ(failure_of(server, options), "");
  for (int i = 0; i < 50; ++i) identity.chain.push_back(identity.chain.front());
  EXPECT_NE(failure_of(server, options), "");
  const auto line = server.wait_for_log_line("warn tls_handshake_failed");
  ASSERT_TRUE(line) << server.log();
  EXPECT_NE(line->find("a handshake message is over 16 KiB long"), std::string::npos) << *line;
}

// --- "more than 32 records in a row without data" ---

/// Writes records of TLS 1.3 that OpenSSL never would: empty ones. It begins with the keys that
/// were agreed on, so the client must not have sent anything yet, and can send nothing afterwards.
class RecordWriter {
 public:
  /// Agreed on must be TLS_AES_128_GCM_SHA256.
  explicit RecordWriter(std::string secret) : secret_(std::move(secret)) {}

  std::string data(std::string_view bytes) { return record(bytes, '\x17'); }

  std::string key_update() {
    std::string bytes = record(std::string_view("\x18\x00\x00\x01\x00", 5), '\x16');
    secret_ = expand("traffic upd", 32);
    sequence_ = 0;
    return bytes;
  }

  /// `count` records without data: each tenth changes the keys, the others are empty.
  std::string without_data(int count) {
    std::string records;
    for (int i = 1; i <= count; ++i) records += i % 10 == 0 ? key_update() : data("");
    return records;
  }

 private:
  /// HKDF-Expand-Label (RFC 8446, 7.1) of up to 32 bytes.
  [[nodiscard]] std::string expand(const std::string& label, std::size_t size) const {
    std::string info;
    append_number(info, size, 2);
    append_number(info, 6 + label.size(), 1);
    info += "tls13 " + label + std::string("\x00\x01", 2);
    std::string bytes(32, '\0');
    HMAC(EVP_sha256(), secret_.data(), static_cast<int>(secret_.size()),
         reinterpret_cast<const unsigned char*>(info.data()), info.size(),
         reinterpret_cast<unsigned char*>(bytes.data()), nullptr);
    return bytes.substr(0, size);
  }

  std::string record(std::string_view bytes, char content) {
    constexpr int kTag = 16;
    std::string text(bytes);
    text += content;
    std::string out("\x17\x03\x03");
    append_number(out, text.size() + kTag, 2);
    const std::string key = expand("key", 16);
    std::string nonce = expand("iv", 12);
    for (int i = 0; i < 8; ++i) nonce[11 - i] ^= static_cast<char>(sequence_ >> 8 * i);
    ++sequence_;
    const auto bytes_of = [](std::string& of) {
      return reinterpret_cast<unsigned char*>(of.data());
    };
    const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> cipher(
        EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
    std::string tag(kTag, '\0');
    std::string header = out;
    int size = 0;
    EVP_EncryptInit_ex(cipher.get(), EVP_aes_128_gcm(), nullptr,
                       reinterpret_cast<const unsigned char*>(key.data()), bytes_of(nonce));
    EVP_EncryptUpdate(cipher.get(), nullptr, &size, bytes_of(header), 5);
    std::string encrypted(text.size(), '\0');
    EVP_EncryptUpdate(cipher.get(), bytes_of(encrypted), &size, bytes_of(text),
                      static_cast<int>(text.size()));
    EVP_EncryptFinal_ex(cipher.get(), bytes_of(encrypted) + size, &size);
    EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTag, tag.data());
    return out + encrypted + tag;
  }

  std::string secret_;
  std::uint64_t sequence_ = 0;
};

TEST(TlsWithoutData, changes_of_keys_are_taken_32_in_a_row) {
  const TlsServer server;
  TlsClient client(server, server.trusting(TLS1_3_VERSION));
  for (int round = 0; round < 3; ++round) {
    client.send_raw(client.key_updates(32));
    EXPECT_EQ(client.ping(), "ok");
  }
}

TEST(TlsWithoutData, changes_of_keys_between_data_are_taken_for_ever) {
  const TlsServer server;
  TlsClient client(server, server.trusting(TLS1_3_VERSION));
  std::string records;
  for (int i = 0; i < 200; ++i) {
    records += client.key_updates(5);
    records += client.encrypted(request_bytes("ping", "_", "_"));
  }
  client.send_raw(records);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(client.read_line(), "ok");
}

TEST(TlsWithoutData, more_changes_of_keys_end_the_connection) {
  const TlsServer server({"--debug"});
  for (const bool at_once : {true, false}) {
    TlsClient client(server, server.trusting(TLS1_3_VERSION));
    EXPECT_EQ(client.ping(), "ok");
    std::string records;
    for (int i = 0; i < 33; ++i) {
      records += client.key_updates(1);
      if (!at_once) client.send_raw(std::exchange(records, {}));
    }
    records += client.encrypted(request_bytes("ping", "_", "_"));
    client.send_raw(records);
    EXPECT_EQ(client.read_to_end(), "") << "not answered";
  }
  EXPECT_EQ(failure_of(server, server.trusting()), "");
}

TlsOptions with_aes_128(const TlsServer& server) {
  TlsOptions options = server.trusting(TLS1_3_VERSION);
  options.suites = "TLS_AES_128_GCM_SHA256";
  return options;
}

// OpenSSL bounds empty records in a row by itself, but begins to count again after a message.
TEST(TlsWithoutData, records_of_any_kinds_are_taken_32_in_a_row) {
  const TlsServer server;
  TlsClient client(server, with_aes_128(server));
  RecordWriter writer(client.traffic_secret());
  for (int round = 0; round < 3; ++round) {
    std::string records = writer.without_data(32);
    records += writer.data(request_bytes("ping", "_", "_"));
    client.send_raw(records);
    EXPECT_EQ(client.read_line(), "ok");
  }
}

TEST(TlsWithoutData, more_records_of_any_kinds_end_the_connection) {
  const TlsServer server;
  for (const bool at_once : {true, false}) {
    TlsClient client(server, with_aes_128(server));
    RecordWriter writer(client.traffic_secret());
    client.send_raw(writer.data(request_bytes("ping", "_", "_")));
    EXPECT_EQ(client.read_line(), "ok");
    std::string records = writer.without_data(33);
    if (!at_once) client.send_raw(std::exchange(records, {}));
    records += writer.data(request_bytes("ping", "_", "_"));
    client.send_raw(records);
    EXPECT_EQ(client.read_to_end(), "") << "not answered";
  }
  EXPECT_EQ(failure_of(server, server.trusting()), "");
}

TEST(TlsWithoutData, data_of_one_byte_a_record_are_taken_for_ever) {
  const TlsServer server;
  TlsClient client(server, server.trusting(TLS1_3_VERSION));
  std::string records;
  for (int i = 0; i < 50; ++i) {
    for (const char byte : request_bytes("ping", "_", "_")) {
      records += client.encrypted(std::string(1, byte));
    }
  }
  client.send_raw(records);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(client.read_line(), "ok");
}

TEST(TlsWithoutData, more_changes_of_keys_end_a_connection_of_http_too) {
  const TlsServer server({}, {}, Http::kOn);
  TlsClient client(server, server.trusting(TLS1_3_VERSION), Route{.port = server.http_port()});
  client.send("GET ");
  client.send_raw(client.key_updates(33));
  EXPECT_EQ(client.read_to_end(), "");
}

// --- "A peer that leaves before its first byte is no failed handshake" ---

class TlsProbe : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Of, TlsProbe, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& parameter) {
                           return std::string(parameter.param ? "http" : "lines");
                         });

TEST_P(TlsProbe, is_no_failed_handshake_however_it_leaves) {
  const TlsServer server({"--debug"}, {}, Http::kOn);
  const Route route{.port = GetParam() ? server.http_port() : server.port()};
  Client closing(server, route);
  closing.close();
  Client half(server, route);
  half.half_close();
  EXPECT_EQ(half.read_to_end(), "");
  Client resetting(server, route);
  EXPECT_TRUE(eventually([&] { return lines_with(server.log(), "debug connected").size() == 3; }))
      << server.log();
  resetting.reset();
  EXPECT_TRUE(eventually([&] {
    return lines_with(server.log(), "debug disconnected").size() == 3;
  })) << server.log();
  EXPECT_EQ(lines_with(server.log(), "tls_handshake_failed").size(), 0U) << server.log();
}

TEST_P(TlsProbe, that_has_sent_a_byte_is_a_failed_handshake) {
  const TlsServer server({}, {}, Http::kOn);
  const Route route{.port = GetParam() ? server.http_port() : server.port()};
  Client client(server, route);
  client.send("\x16");
  client.half_close();
  EXPECT_EQ(client.read_to_end(), "");
  EXPECT_TRUE(server.wait_for_log_line("warn tls_handshake_failed")) << server.log();
}

// --- "an intermediate or a leaf in --tls-client-ca is trusted as it stands" ---

class TrustFile : public OfEachVersion {
 protected:
  /// What becomes of a client that shows `identity` to a server that trusts `trusted`.
  std::string failure(const Identity& identity, const std::string& trusted) const {
    const TlsServer server({"--tls-client-ca", directory_.write("trusted.crt", trusted)});
    TlsOptions options = server.trusting(GetParam());
    options.identity = &identity;
    return failure_of(server, options);
  }
  static std::string pem(const Identity& identity) {
    Identity alone = identity;
    alone.chain.clear();
    return alone.certificate_pem();
  }

  TemporaryDirectory directory_;
  Authority root_{"Root"};
  Authority middle_ = root_.intermediate("Middle");
};
FOR_EACH_VERSION(TrustFile);

TEST_P(TrustFile, with_an_intermediate_alone_trusts_what_it_signed_and_nothing_else) {
  EXPECT_EQ(failure(middle_.issue(client_request("worker")), middle_.pem()), "");
  EXPECT_NE(failure(root_.issue(client_request("worker")), middle_.pem()), "");
  EXPECT_NE(failure(root_.intermediate("Other").issue(client_request("worker")), middle_.pem()),
            "");
}

TEST_P(TrustFile, with_a_leaf_trusts_it_and_no_other) {
  const Identity worker = middle_.issue(client_request("worker"));
  EXPECT_EQ(failure(worker, pem(worker)), "");
  EXPECT_NE(failure(middle_.issue(client_request("worker")), pem(worker)), "");
}

TEST_P(TrustFile, does_not_excuse_from_expiry_and_purpose) {
  Request request = client_request("worker");
  request.valid_until = std::chrono::minutes(-1);
  const Identity expired = middle_.issue(request);
  EXPECT_TRUE(failure(expired, pem(expired)).ends_with("alert certificate expired"));
  EXPECT_TRUE(failure(expired, middle_.pem()).ends_with("alert certificate expired"));
  const Identity for_servers = middle_.issue({.subject = "worker"});
  EXPECT_NE(failure(for_servers, pem(for_servers)), "");
  EXPECT_NE(failure(for_servers, middle_.pem()), "");
}

TEST_P(TrustFile, of_any_length_leaves_room_for_the_handshake) {
  std::string trusted;
  const std::string name(60, 'x');
  for (int i = 0; i < 300; ++i) trusted += Authority(name + std::to_string(i)).pem();
  EXPECT_EQ(failure(root_.issue(client_request("worker")), trusted + root_.pem()), "");
}

// --- Not TLS at all ---

// "\x15\x03\x01": a fatal alert, protocol_version, by which a client can tell.
TEST(PlainTextWhereTlsIsExpected, is_answered_with_an_alert_unless_it_is_http) {
  const TlsServer server;
  Client client(server);
  client.send("ping\n_\n_\n");
  EXPECT_EQ(client.read_to_end(), std::string("\x15\x03\x01\x00\x02\x02\x46", 7));
  Client browser(server);
  browser.send("GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(browser.read_to_end(), "");
}

TEST(TlsWherePlainTextIsExpected, is_refused_at_once) {
  const Server server;
  for (const std::string& sent :
       {client_hello(), client_hello().substr(0, 100), std::string("\x16\x03\n\n\n\x01")}) {
    Client client(server);
    client.send(sent);
    EXPECT_EQ(client.read_to_end(), "error\n");
  }
  const TemporaryDirectory directory;
  const Server with_secret({"--auth-token-file", directory.write("token", "secret")});
  Client client(with_secret);
  client.send(client_hello());
  EXPECT_EQ(client.read_to_end(), "error_auth\n");
}

TEST(TlsWherePlainTextIsExpected, is_looked_for_only_before_the_first_request) {
  const Server server;
  Client client(server);
  EXPECT_EQ(client.ping(), "ok");
  EXPECT_EQ(client.ask("\x16\x03", "_", "_"), "error");
  EXPECT_EQ(client.ping(), "ok");
}

TEST(TlsWherePlainTextIsExpected, is_no_command_that_begins_alike) {
  const Server server;
  Client client(server);
  EXPECT_EQ(client.ask("\x16\x03", "_", "_"), "error");
  EXPECT_EQ(client.ping(), "ok");
}

}  // namespace

}  // namespace dflockd::test
