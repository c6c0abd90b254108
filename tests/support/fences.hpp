// Using up the fences that a server has reserved, and a disk that fails when it wants more.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include <gtest/gtest.h>

#include "support/client.hpp"

namespace dflockd::test {

/// More fences than a server reserves ahead.
inline constexpr int kMoreThanAreReserved = 4'000'000;

/// The end of a series of grants.
struct Taken {
  std::uint64_t last_fence = 0;
  std::string refusal{};  ///< the reply that ended the series early
};

/// Takes up to `count` slots, until one is refused. Every fence must be greater than the last.
inline Taken take_fences(const Server& server, int count) {
  constexpr int kBatch = 10'000;
  std::string requests;
  for (int i = 0; i < kBatch; ++i) requests += request_bytes("sl", "many", "0 1048576 3600");
  Taken taken;
  for (int done = 0; done < count; done += kBatch) {
    Client client(server);  // which gives back at its end what it was granted
    client.send(requests);
    for (int i = 0; i < kBatch; ++i) {
      const std::string reply = client.read_line();
      if (!reply.starts_with("ok ")) {
        taken.refusal = reply;
        return taken;
      }
      const std::uint64_t fence = std::stoull(reply.substr(3, 16), nullptr, 16);
      EXPECT_GT(fence, taken.last_fence);
      taken.last_fence = fence;
    }
  }
  return taken;
}

/// The environment of a server for which writing `file` fails while the file `flag` exists: see
/// fault_shim.cpp. Not with the sanitizers, whose library must be loaded first.
inline std::map<std::string, std::string> world_of_faults(const std::string& file,
                                                          const std::string& flag) {
  return {
      {"LD_PRELOAD", DFLOCKD_FAULT_SHIM}, {"DFLOCKD_SHIM_FILE", file}, {"DFLOCKD_SHIM_FLAG", flag}};
}

}  // namespace dflockd::test
