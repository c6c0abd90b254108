// "SIGHUP re-reads the certificate, key, client CA, auth token file and log level without dropping
// a connection or a lock, and a reload that fails keeps the old ones and says so."

#include <atomic>
#include <csignal>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/log.hpp"
#include "support/stats.hpp"
#include "support/tls_client.hpp"
#include "support/tls_server.hpp"

namespace dflockd::test {

namespace {

constexpr const char* kNothing = "reloaded changed=nothing";

TEST(Reload, with_nothing_configured_changes_nothing) {
  Server server;
  Client holder(server);
  const Grant grant = holder.hold(lock("job"));
  EXPECT_EQ(reload(server), kNothing);
  EXPECT_EQ(holder.renew(lock("job"), grant.token), "ok 33");
}

TEST(Reload, storm_of_them_does_no_harm) {
  TlsServer server;
  TlsClient holder(server, server.trusting());
  const Grant grant = holder.hold(lock("job"));
  for (int i = 0; i < 200; ++i) {
    server.signal(SIGHUP);
    if (i % 10 == 0) {
      EXPECT_EQ(holder.ping(), "ok");
    }
  }
  EXPECT_EQ(holder.renew(lock("job"), grant.token), "ok 33");
  EXPECT_EQ(failure_of(server, server.trusting()), "");
  EXPECT_EQ(reload(server), kNothing);
  EXPECT_EQ(server.log().find("reload_failed"), std::string::npos) << server.log();
}

// --- Certificates ---

class CertificateReload : public OfEachVersion {
 protected:
  [[nodiscard]] TlsClient connect() const {
    return TlsClient(server_, server_.trusting(GetParam()));
  }

  /// Puts another certificate where the server finds it.
  Identity rotate() {
    Identity next = server_.authority.issue({.subject = "next"});
    static_cast<void>(server_.directory.write("server", next));
    return next;
  }

  TlsServer server_;
};
FOR_EACH_VERSION(CertificateReload);

TEST_P(CertificateReload, new_one_is_shown_to_new_connections_and_old_ones_go_on) {
  TlsClient old = connect();
  const Grant grant = old.hold(lock("job"));
  const Identity next = rotate();
  EXPECT_EQ(connect().server_fingerprint(), fingerprint(server_.identity.certificate.get()))
      << "it is not read before the signal";
  EXPECT_EQ(reload(server_), "reloaded changed=certificate");
  EXPECT_EQ(connect().server_fingerprint(), fingerprint(next.certificate.get()));
  EXPECT_EQ(connect().ping(), "ok");
  EXPECT_EQ(old.renew(lock("job"), grant.token), "ok 33");
  EXPECT_EQ(old.release(lock("job"), grant.token), "ok");
  EXPECT_EQ(reload(server_), kNothing);
}

TEST_P(CertificateReload, during_a_handshake_lets_it_end_with_the_old_one) {
  Client half_way(server_);
  half_way.send(client_hello(server_.trusting(GetParam())).substr(0, 50));
  TlsClient observer = connect();
  EXPECT_TRUE(eventually([&] { return stats(observer).at("connections") == 2; }));
  rotate();
  EXPECT_EQ(reload(server_), "reloaded changed=certificate");
  half_way.close();
  EXPECT_TRUE(eventually([&] { return stats(observer).at("connections") == 1; }));
  EXPECT_EQ(connect().ping(), "ok");
}

TEST_P(CertificateReload, twenty_times_drops_no_connection_no_lock_and_no_reply) {
  TlsClient holder = connect();
  const Grant grant = holder.hold(lock("job"));
  std::atomic<bool> done = false;
  std::atomic<int> served = 0;
  std::string failure;
  std::thread others([&] {
    try {
      while (!done) {
        TlsClient client = connect();
        std::string requests;
        for (int i = 0; i < 100; ++i) requests += request_bytes("ping", "_", "_");
        client.send(requests);
        for (int i = 0; i < 100; ++i) {
          if (client.read_line() != "ok") throw std::runtime_error("no pong");
        }
        ++served;
      }
    } catch (const std::exception& error) {
      failure = error.what();
    }
  });
  for (int round = 0; round < 20; ++round) {
    rotate();
    EXPECT_EQ(reload(server_), "reloaded changed=certificate");
    EXPECT_EQ(holder.renew(lock("job"), grant.token), "ok 33");
  }
  const int before = served;
  EXPECT_TRUE(eventually([&] { return served > before + 1 || !failure.empty(); }));
  done = true;
  others.join();
  EXPECT_EQ(failure, "");
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
}

TEST_P(CertificateReload, session_from_before_does_no_harm) {
  TlsOptions options = server_.trusting(GetParam());
  TlsClient first = connect();
  EXPECT_EQ(first.ping(), "ok");
  options.session = first.session();
  const Identity next = rotate();
  EXPECT_EQ(reload(server_), "reloaded changed=certificate");
  TlsClient second(server_, options);
  EXPECT_EQ(second.ping(), "ok");
  EXPECT_FALSE(second.resumed());
  EXPECT_EQ(second.server_fingerprint(), fingerprint(next.certificate.get()));
}

TEST(ReloadWhileDraining, is_done_and_does_not_hold_up_the_drain) {
  TlsServer server;
  TlsClient holder(server, server.trusting());
  const Grant grant = holder.hold(lock("job"));
  drain(server);
  static_cast<void>(server.directory.write("server", server.authority.issue({.subject = "next"})));
  EXPECT_EQ(reload(server), "reloaded changed=certificate");
  EXPECT_EQ(holder.renew(lock("job"), grant.token), "ok 33");
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(ReloadOfAnExpiredCertificate, is_done_with_a_warning) {
  TlsServer server;
  static_cast<void>(server.directory.write(
      "server", server.authority.issue({.valid_until = std::chrono::minutes(-1)})));
  EXPECT_EQ(reload(server), "reloaded changed=certificate");
  EXPECT_TRUE(server.wait_for_log_line("warn configuration")) << server.log();
}

// --- Bad rotations ---

/// A server with everything that can be reloaded: files that a test breaks.
class BadReload : public testing::Test {
 protected:
  struct Files : TlsFixture {
    Files() : TlsFixture({}) {
      static_cast<void>(directory.write("clients.crt", clients.pem()));
      static_cast<void>(directory.write("token", "secret\n"));
      static_cast<void>(directory.write("config.toml", "log-level = \"info\"\n"));
    }
    [[nodiscard]] std::string path(std::string_view name) const { return directory / name; }
    [[nodiscard]] Launch launch() const {
      return {.flags = flags({"--tls-client-ca", path("clients.crt"), "--auth-token-file",
                              path("token"), "--config", path("config.toml")})};
    }

    Authority clients{"Clients"};
    Identity worker = clients.issue(client_request("worker"));
  } files_;

  /// Connects anew and authenticates.
  [[nodiscard]] TlsClient connect() const {
    const TlsOptions options{
        .trusted = &files_.authority, .host = "localhost", .identity = &files_.worker};
    TlsClient client(server_, options);
    EXPECT_EQ(client.ask("auth", "_", "secret"), "ok");
    return client;
  }

  /// A reload must say `error`, and everything must be as it was.
  void expect_failure(const std::string& error) {
    EXPECT_EQ(reload(server_), "reload_failed error=\"dflockd: " + error + "\"");
    EXPECT_EQ(connect().server_fingerprint(), fingerprint(files_.identity.certificate.get()));
    EXPECT_EQ(old_.ping(), "ok");
  }

  /// Does so with the file `name` put away and `replace` having put something in its place.
  void expect_failure_with(const std::string& name, const std::function<void()>& replace,
                           const std::string& error) {
    SCOPED_TRACE(name + ": " + error);
    const std::string path = files_.path(name);
    std::filesystem::rename(path, path + ".old");
    replace();
    expect_failure(error);
    std::filesystem::remove(path);
    std::filesystem::rename(path + ".old", path);
    EXPECT_EQ(reload(server_), kNothing);
  }

  /// As it stands in a line of the log, between quotes.
  [[nodiscard]] std::string refusal(const std::string& flag, const std::string& name,
                                    const std::string& why, const std::string& what = "use") const {
    return "cannot " + what + " \\\"" + files_.path(name) + "\\\": " + why + " (" + flag + ")";
  }

  Server server_{files_.launch()};
  TlsClient old_ = connect();
};

TEST_F(BadReload, missing_file_keeps_the_old) {
  const auto nothing = [] {};
  constexpr const char* kMissing = "No such file or directory";
  expect_failure_with("server.crt", nothing, refusal("--tls-cert", "server.crt", kMissing, "read"));
  expect_failure_with("server.key", nothing, refusal("--tls-key", "server.key", kMissing, "read"));
  expect_failure_with("clients.crt", nothing,
                      refusal("--tls-client-ca", "clients.crt", kMissing, "read"));
}

TEST_F(BadReload, garbage_keeps_the_old) {
  const auto garbage = [&](const char* name) {
    return [&, name] { static_cast<void>(files_.directory.write(name, "garbage\n")); };
  };
  constexpr const char* kNoCertificate = "no certificate in PEM format is in it";
  expect_failure_with("server.crt", garbage("server.crt"),
                      refusal("--tls-cert", "server.crt", kNoCertificate));
  expect_failure_with("server.key", garbage("server.key"),
                      refusal("--tls-key", "server.key", "no private key in PEM format is in it"));
  expect_failure_with("clients.crt", garbage("clients.crt"),
                      refusal("--tls-client-ca", "clients.crt", kNoCertificate));
}

TEST_F(BadReload, empty_file_keeps_the_old) {
  const auto empty = [&](const char* name) {
    return [&, name] { static_cast<void>(files_.directory.write(name, "")); };
  };
  constexpr const char* kNoCertificate = "no certificate in PEM format is in it";
  expect_failure_with("server.crt", empty("server.crt"),
                      refusal("--tls-cert", "server.crt", kNoCertificate));
  expect_failure_with("clients.crt", empty("clients.crt"),
                      refusal("--tls-client-ca", "clients.crt", kNoCertificate));
}

TEST_F(BadReload, key_of_another_certificate_keeps_the_old) {
  const std::string key = files_.authority.issue().key_pem();
  expect_failure_with(
      "server.key", [&] { static_cast<void>(files_.directory.write("server.key", key)); },
      refusal("--tls-key", "server.key", "it is not the key of the certificate"));
}

TEST_F(BadReload, encrypted_key_keeps_the_old) {
  const std::string key = files_.identity.encrypted_key_pem("secret");
  expect_failure_with(
      "server.key", [&] { static_cast<void>(files_.directory.write("server.key", key)); },
      refusal("--tls-key", "server.key", "it is encrypted; expected a key without a passphrase"));
}

TEST_F(BadReload, directory_or_fifo_keeps_the_old_and_is_not_waited_for) {
  const auto directory = [&](const char* name) {
    return [&, name] { std::filesystem::create_directory(files_.path(name)); };
  };
  const auto fifo = [&](const char* name) {
    return [&, name] { EXPECT_EQ(::mkfifo(files_.path(name).c_str(), 0600), 0); };
  };
  for (const auto& [name, flag] :
       {std::pair("server.crt", "--tls-cert"), std::pair("server.key", "--tls-key"),
        std::pair("clients.crt", "--tls-client-ca")}) {
    expect_failure_with(name, directory(name), refusal(flag, name, "Is a directory", "read"));
    expect_failure_with(name, fifo(name), refusal(flag, name, "it is not a regular file", "read"));
  }
}

/// For reasons that other tests pin down: the line must name the file, and everything stays.
TEST_F(BadReload, of_token_or_configuration_file_keeps_the_old) {
  const std::vector<std::pair<const char*, std::function<void(const std::string&)>>> breaks{
      {"missing", [](const std::string&) {}},
      {"empty",
       [&](const std::string& path) {
         static_cast<void>(files_.directory.write(std::filesystem::path(path).filename(), "\n"));
       }},
      {"directory", [](const std::string& path) { std::filesystem::create_directory(path); }},
      {"fifo", [](const std::string& path) { EXPECT_EQ(::mkfifo(path.c_str(), 0600), 0); }},
      {"two lines", [&](const std::string& path) {
         static_cast<void>(files_.directory.write(std::filesystem::path(path).filename(),
                                                  "no-such-setting = 1\nsecond\n"));
       }}};
  for (const char* name : {"token", "config.toml"}) {
    for (const auto& [how, replace] : breaks) {
      if (std::string_view(name) == "config.toml" && std::string_view(how) == "empty") continue;
      SCOPED_TRACE(std::string(name) + " " + how);
      const std::string path = files_.path(name);
      std::filesystem::rename(path, path + ".old");
      replace(path);
      const std::string outcome = reload(server_);
      EXPECT_THAT(outcome, testing::StartsWith("reload_failed error=\"dflockd: "));
      EXPECT_THAT(outcome, testing::HasSubstr(path));
      EXPECT_THAT(outcome, testing::Not(testing::HasSubstr("secret")));
      EXPECT_EQ(connect().ping(), "ok");
      EXPECT_EQ(old_.ping(), "ok");
      std::filesystem::remove(path);
      std::filesystem::rename(path + ".old", path);
      EXPECT_EQ(reload(server_), kNothing);
    }
  }
}

// --- What else can change ---

TEST_F(BadReload, new_token_is_asked_of_new_connections_only) {
  static_cast<void>(files_.directory.write("token", "another secret\n"));
  EXPECT_EQ(reload(server_), "reloaded changed=auth_token");
  EXPECT_EQ(old_.ping(), "ok");
  const Grant grant = old_.hold(lock("job"));
  EXPECT_EQ(old_.release(lock("job"), grant.token), "ok");
  const TlsOptions options{.trusted = &files_.authority, .identity = &files_.worker};
  TlsClient late(server_, options);
  EXPECT_EQ(late.ask("auth", "_", "secret"), "error_auth");
  TlsClient next(server_, options);
  EXPECT_EQ(next.ask("auth", "_", "another secret"), "ok");
  EXPECT_EQ(next.ping(), "ok");
  EXPECT_EQ(server_.log().find("secret\""), std::string::npos) << server_.log();
}

TEST_F(BadReload, new_client_authority_is_asked_of_new_connections_only) {
  const Authority authority("Others");
  static_cast<void>(files_.directory.write("clients.crt", authority.pem()));
  EXPECT_EQ(reload(server_), "reloaded changed=client_ca");
  EXPECT_EQ(old_.ping(), "ok");
  TlsOptions options{.trusted = &files_.authority, .identity = &files_.worker};
  EXPECT_NE(failure_of(server_, options), "");
  const Identity other = authority.issue(client_request("other"));
  options.identity = &other;
  TlsClient client(server_, options);
  EXPECT_EQ(client.ask("auth", "_", "secret"), "ok");
}

TEST_F(BadReload, session_of_a_client_that_is_not_vouched_for_any_more_is_not_resumed) {
  TlsOptions options{.trusted = &files_.authority, .identity = &files_.worker};
  options.session = old_.session();
  const Authority authority("Others");
  static_cast<void>(files_.directory.write("clients.crt", authority.pem()));
  EXPECT_EQ(reload(server_), "reloaded changed=client_ca");
  EXPECT_NE(failure_of(server_, options), "");
}

TEST_F(BadReload, everything_at_once_is_told_in_one_line) {
  static_cast<void>(files_.directory.write("server", files_.authority.issue()));
  static_cast<void>(files_.directory.write("clients.crt", Authority("Others").pem()));
  static_cast<void>(files_.directory.write("token", "another"));
  static_cast<void>(files_.directory.write("config.toml", "log-level = \"debug\"\n"));
  EXPECT_EQ(reload(server_), "reloaded changed=certificate,client_ca,auth_token,log_level");
}

/// A server whose configuration is all in a file.
class ConfigurationReload : public testing::Test {
 protected:
  void configure(const std::string& toml) {
    static_cast<void>(files_.directory.write("config.toml", toml));
  }

  struct Files : TlsFixture {
    Files() : TlsFixture({}) { static_cast<void>(directory.write("config.toml", "")); }
  } files_;
  Server server_{{"--config", files_.directory / "config.toml"}};
};

TEST_F(ConfigurationReload, log_level_changes_and_changes_back) {
  Client client(server_);
  configure("log-level = \"debug\"\n");
  EXPECT_EQ(reload(server_), "reloaded changed=log_level");
  client.hold(lock("seen"));
  EXPECT_TRUE(server_.wait_for_log_line("key=seen")) << server_.log();
  configure("");
  EXPECT_EQ(reload(server_), "reloaded changed=log_level");
  client.hold(lock("unseen"));
  EXPECT_EQ(reload(server_), kNothing) << "a line behind which the other would be";
  EXPECT_EQ(server_.log().find("unseen"), std::string::npos) << server_.log();
}

TEST_F(ConfigurationReload, outcome_is_told_at_whichever_level_lets_it_through) {
  configure("log-level = \"error\"\n");
  EXPECT_EQ(reload(server_), "reloaded changed=log_level");
  configure("");
  EXPECT_EQ(reload(server_), "reloaded changed=log_level");
}

TEST_F(ConfigurationReload, setting_that_cannot_change_needs_a_restart) {
  configure("max-locks = 1\ndefault-lease-ttl = 44\n");
  EXPECT_EQ(reload(server_), kNothing);
  for (const char* setting : {"max-locks", "default-lease-ttl"}) {
    EXPECT_TRUE(
        server_.wait_for_log_line(std::string("warn reload_needs_restart setting=") + setting))
        << server_.log();
  }
  EXPECT_EQ(server_.log().find("setting=port"), std::string::npos) << server_.log();
  Client client(server_);
  EXPECT_EQ(granted(client.acquire(lock("a"), 0)).lease, 33);
  client.hold(lock("b"));
}

TEST_F(ConfigurationReload, does_not_turn_tls_or_authentication_on) {
  const std::string tls =
      "tls-cert = \"" + files_.files.certificate + "\"\ntls-key = \"" + files_.files.key + "\"\n";
  configure(tls);
  EXPECT_EQ(reload(server_), "reload_failed error=\"turning TLS on or off needs a restart\"");
  configure("auth-token = \"secret\"\n");
  EXPECT_EQ(reload(server_),
            "reload_failed error=\"turning authentication on or off needs a restart\"");
  EXPECT_EQ(Client(server_).ping(), "ok");
  configure("");
  EXPECT_EQ(reload(server_), kNothing);
}

TEST_F(ConfigurationReload, does_not_turn_tls_or_authentication_off) {
  const std::string tls =
      "tls-cert = \"" + files_.files.certificate + "\"\ntls-key = \"" + files_.files.key + "\"\n";
  configure(tls + "auth-token = \"secret\"\n");
  Server server({"--config", files_.directory / "config.toml"});
  configure("auth-token = \"secret\"\n");
  EXPECT_EQ(reload(server), "reload_failed error=\"turning TLS on or off needs a restart\"");
  configure(tls);
  EXPECT_EQ(reload(server),
            "reload_failed error=\"turning authentication on or off needs a restart\"");
  TlsClient client(server);
  EXPECT_EQ(client.ping(), "error_auth");
}

TEST_F(ConfigurationReload, does_not_turn_client_certificates_off) {
  const std::string certificate = files_.files.certificate;
  const std::string tls =
      "tls-cert = \"" + certificate + "\"\ntls-key = \"" + files_.files.key + "\"\n";
  configure(tls + "tls-client-ca = \"" + certificate + "\"\n");
  Server server({"--config", files_.directory / "config.toml"});
  configure(tls);
  EXPECT_EQ(reload(server),
            "reload_failed error=\"turning client certificates off needs a restart\"");
  EXPECT_NE(failure_of(server, {}), "");
}

}  // namespace

}  // namespace dflockd::test
