#include "net/tls_context.hpp"

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>

#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/certificates.hpp"

namespace dflockd::net {

namespace {

using test::Authority;
using test::fingerprint;
using test::Identity;
using test::IdentityFiles;
using test::KeyType;
using test::TemporaryDirectory;

class LoadedContext : public testing::Test {
 protected:
  [[nodiscard]] TlsFiles files() const {
    return {.certificate = files_.certificate, .key = files_.key, .client_ca = {}};
  }

  /// Loading must be refused for the file `name`, of the setting, with these words.
  void expect_refusal(const TlsFiles& files, std::string_view setting, std::string_view name,
                      const std::string& why, const std::string& what = "use") const {
    SCOPED_TRACE(std::string(setting) + " " + std::string(name));
    try {
      static_cast<void>(TlsContext::load(files));
      FAIL() << "it was loaded";
    } catch (const TlsFileError& error) {
      EXPECT_EQ(error.setting(), setting);
      EXPECT_EQ(error.what(),
                "cannot " + what + " \"" + (directory_ / name).string() + "\": " + why);
    }
  }

  /// The same for a file that cannot be read, in the place of each of the three.
  void expect_unreadable(std::string_view name, const std::string& why) const {
    expect_refusal_of_certificates(name, why, "read");
    expect_refusal_of_key(name, why, "read");
  }
  void expect_refusal_of_certificates(std::string_view name, const std::string& why,
                                      const std::string& what = "use") const {
    TlsFiles with = files();
    with.certificate = directory_ / name;
    expect_refusal(with, "tls-cert", name, why, what);
    with = files();
    with.client_ca = directory_ / name;
    expect_refusal(with, "tls-client-ca", name, why, what);
  }
  void expect_refusal_of_key(std::string_view name, const std::string& why,
                             const std::string& what = "use") const {
    TlsFiles with = files();
    with.key = directory_ / name;
    expect_refusal(with, "tls-key", name, why, what);
  }

  TemporaryDirectory directory_;
  Authority authority_;
  Identity identity_ = authority_.issue({.subject = "lock server, first of its name"});
  IdentityFiles files_ = directory_.write("server", identity_);
};

TEST_F(LoadedContext, describes_its_certificate) {
  const TlsContext context = TlsContext::load(files());
  EXPECT_EQ(context.certificate().subject, "CN=lock server\\, first of its name");
  EXPECT_THAT(context.certificate().not_after, testing::MatchesRegex("20..-..-..T..:..:..Z"));
  EXPECT_EQ(context.certificate().sha256, fingerprint(identity_.certificate.get()));
  EXPECT_FALSE(context.certificate().expired);
  EXPECT_TRUE(context.client_authorities().empty());
  EXPECT_NE(context.accept(), nullptr);
}

TEST_F(LoadedContext, describes_when_its_certificate_has_expired) {
  using std::chrono::minutes;
  for (const auto& [until, expired] :
       {std::pair(minutes(-1), true), std::pair(minutes(1), false)}) {
    const IdentityFiles written =
        directory_.write("server", authority_.issue({.valid_until = until}));
    EXPECT_EQ(TlsContext::load(files()).certificate().expired, expired);
  }
}

TEST_F(LoadedContext, names_its_client_authorities_by_their_fingerprints) {
  const Authority other("Other");
  TlsFiles with = files();
  with.client_ca = directory_.write("clients.crt", authority_.pem() + other.pem());
  EXPECT_THAT(TlsContext::load(with).client_authorities(),
              testing::ElementsAre(fingerprint(authority_.certificate()),
                                   fingerprint(other.certificate())));
}

TEST_F(LoadedContext, may_have_a_key_of_either_kind_and_certificates_that_lead_to_the_root) {
  const Authority middle = authority_.intermediate("Middle");
  for (const KeyType type : {KeyType::kEcP256, KeyType::kRsa2048}) {
    const Identity identity = middle.issue({.key = type});
    const IdentityFiles written = directory_.write("server", identity);
    EXPECT_EQ(TlsContext::load(files()).certificate().sha256,
              fingerprint(identity.certificate.get()));
  }
}

TEST_F(LoadedContext, may_have_certificate_and_key_in_one_file) {
  const auto both = directory_.write("both.pem", identity_.key_pem() + identity_.certificate_pem());
  EXPECT_EQ(
      TlsContext::load({.certificate = both, .key = both, .client_ca = {}}).certificate().sha256,
      fingerprint(identity_.certificate.get()));
}

TEST_F(LoadedContext, may_get_new_ticket_keys) {
  TlsContext context = TlsContext::load(files());
  context.renew_ticket_keys();
  EXPECT_NE(context.accept(), nullptr);
}

TEST_F(LoadedContext, refuses_a_file_that_is_missing) {
  expect_unreadable("missing.pem", "No such file or directory");
}

TEST_F(LoadedContext, refuses_a_file_that_may_not_be_read) {
  using std::filesystem::perms;
  std::filesystem::permissions(directory_.path(), perms::all);
  for (const std::string& file : {files_.certificate, files_.key}) {
    std::filesystem::permissions(file, perms::all);
  }
  std::filesystem::permissions(directory_.write("secret.pem", ""), perms::none);
  const test::WithoutRootsRights without;
  expect_unreadable("secret.pem", "Permission denied");
}

TEST_F(LoadedContext, refuses_what_is_no_regular_file_without_waiting_for_it) {
  std::filesystem::create_directory(directory_ / "directory");
  ASSERT_EQ(::mkfifo((directory_ / "fifo").c_str(), 0600), 0);
  expect_unreadable("directory", "Is a directory");
  expect_unreadable("fifo", "it is not a regular file");
}

TEST_F(LoadedContext, refuses_a_file_over_a_mebibyte) {
  directory_.write("large.pem", std::string((1U << 20U) + 1, '\n'));
  expect_unreadable("large.pem", "it is larger than 1 MiB");
}

TEST_F(LoadedContext, takes_a_file_of_a_mebibyte) {
  std::string pem = identity_.certificate_pem();
  pem.insert(0, (1U << 20U) - pem.size(), '\n');
  directory_.write("server.crt", pem);
  EXPECT_NO_THROW(static_cast<void>(TlsContext::load(files())));
}

TEST_F(LoadedContext, refuses_a_file_with_nothing_in_it_that_is_wanted) {
  directory_.write("empty.pem", "");
  directory_.write("other.pem", "no PEM at all\n");
  for (const char* name : {"empty.pem", "other.pem"}) {
    expect_refusal_of_certificates(name, "no certificate in PEM format is in it");
    expect_refusal_of_key(name, "no private key in PEM format is in it");
  }
  expect_refusal_of_certificates("server.key", "no certificate in PEM format is in it");
  expect_refusal_of_key("server.crt", "no private key in PEM format is in it");
}

TEST_F(LoadedContext, refuses_a_damaged_certificate_first_or_not) {
  std::string damaged = identity_.certificate_pem();
  damaged.insert(damaged.find('\n') + 1, "!");
  directory_.write("damaged.pem", damaged);
  expect_refusal_of_certificates("damaged.pem", "not a PEM certificate: bad base64 decode");
  directory_.write("damaged.pem", identity_.certificate_pem() + damaged);
  expect_refusal_of_certificates("damaged.pem", "not a PEM certificate: bad base64 decode");
  const std::string whole = identity_.certificate_pem();
  directory_.write("damaged.pem", std::string_view(whole).substr(0, whole.size() / 2));
  expect_refusal_of_certificates("damaged.pem", "not a PEM certificate: bad end line");
}

TEST_F(LoadedContext, refuses_a_key_of_another_certificate_of_either_kind) {
  for (const KeyType type : {KeyType::kEcP256, KeyType::kRsa2048}) {
    directory_.write("other.key", authority_.issue({.key = type}).key_pem());
    expect_refusal_of_key("other.key", "it is not the key of the certificate");
  }
}

TEST_F(LoadedContext, refuses_an_encrypted_key) {
  directory_.write("encrypted.key", identity_.encrypted_key_pem("secret"));
  expect_refusal_of_key("encrypted.key", "it is encrypted; expected a key without a passphrase");
}

TEST_F(LoadedContext, refuses_a_key_too_short_to_be_safe) {
  const IdentityFiles weak = directory_.write("weak", authority_.issue({.key = KeyType::kRsa1024}));
  expect_refusal({.certificate = weak.certificate, .key = weak.key, .client_ca = {}}, "tls-cert",
                 "weak.crt", "ee key too small");
}

TEST_F(LoadedContext, is_loaded_after_a_refusal_as_before) {
  TlsFiles bad = files();
  bad.key = directory_.write("bad.key", "bad");
  EXPECT_THROW(static_cast<void>(TlsContext::load(bad)), TlsFileError);
  EXPECT_NO_THROW(static_cast<void>(TlsContext::load(files())));
}

}  // namespace

}  // namespace dflockd::net
