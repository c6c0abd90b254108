// Which of several servers has a key.
#pragma once

#include <functional>
#include <string_view>

#include <dflockd/api.hpp>

namespace dflockd {

/// Chooses a server for a key: a number from 0 to `servers` - 1. Every client that contends for a
/// key must choose the same, so it may depend on its two arguments only. Called from any thread.
using Shard = std::function<int(std::string_view key, int servers)>;

/// CRC-32 (IEEE 802.3, as zlib's `crc32`) of the key's bytes, modulo `servers`: what the clients
/// for Go, Python and TypeScript do, so that all of them look for a key at the same server. With
/// three servers, "user:42:profile" is at 0, "deploy" at 1; docs/client.md has more.
/// @param servers  at least 1
/// Pure and thread-safe.
[[nodiscard]] DFLOCKD_API int crc32_shard(std::string_view key, int servers) noexcept;

}  // namespace dflockd
