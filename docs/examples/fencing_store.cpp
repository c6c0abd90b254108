// Fencing: a file store that refuses a holder that has lost its lock.
//
//   fencing_store SERVER DIRECTORY
//
// A holder that was stopped for longer than its lease does not know, when it continues, that
// another was granted the lock and has written. The store knows: it keeps the largest token that it
// has seen and refuses smaller ones. (A store for many machines would be a service; the rule is the
// same.)
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

#include <dflockd/dflockd.hpp>

namespace {

class Store {
 public:
  explicit Store(const std::filesystem::path& directory)
      : fence_(directory / "fence"), content_(directory / "content") {}

  /// False if somebody with a later grant was here before.
  bool write(const std::string& token, const std::string& content) {
    // Tokens compare as strings: the first 16 characters are the fence.
    std::string largest;
    std::ifstream(fence_) >> largest;
    if (token < largest) return false;
    std::ofstream(fence_) << token;
    std::ofstream(content_) << content;
    return true;
  }

 private:
  std::filesystem::path fence_;
  std::filesystem::path content_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: fencing_store SERVER DIRECTORY\n";
    return 2;
  }
  Store store(argv[2]);
  dflockd::LockOptions options;
  options.key = "store";
  options.servers = {argv[1]};

  try {
    dflockd::Lock slow(options);
    if (!slow.acquire()) return 1;
    const std::string old_token = slow.token();
    slow.release();  // stands for a lease that ran out while the holder was stopped

    dflockd::Lock quick(options);
    if (!quick.acquire()) return 1;
    std::cout << "the new holder writes: " << std::boolalpha << store.write(quick.token(), "new")
              << '\n';
    std::cout << "the old holder, who does not know, writes: " << store.write(old_token, "old")
              << '\n';
  } catch (const dflockd::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
