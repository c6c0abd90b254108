// "if a reservation fails (disk full, I/O error), the grant is refused with error (HTTP 503
// fence_persistence), nothing is half-granted, and a later request tries again."

#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/fences.hpp"
#include "support/files.hpp"
#include "support/http_client.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

TEST(HttpFenceFile, failing_reservation_refuses_grants_until_it_succeeds_again) {
  if (kSanitized) GTEST_SKIP() << "the sanitizers' library must be loaded first";
  const TemporaryDirectory directory;
  const std::string file = directory.file("fence");
  const std::string flag = directory.file("fail");
  const Server server(Launch{.flags = {"--fence-state-file", file, "--max-locks", "0"},
                             .environment = world_of_faults(file, flag)},
                      Http::kOn);
  Client observer(server);
  HttpClient client(server);
  HttpClient waiting(server);
  const std::string session = client.open_session();
  const std::string other = client.open_session();
  const Grant grant = client.hold(session, lock("held"), 3'600);
  write_file(flag, "");
  const Taken taken = take_fences(server, kMoreThanAreReserved);
  ASSERT_EQ(taken.refusal, "error");

  EXPECT_EQ(client.acquire(session, lock("free"), 60).summary(), "503 fence_persistence");
  EXPECT_EQ(client.acquire(session, lock("free"), 0).summary(), "503 fence_persistence");
  EXPECT_EQ(client.acquire(session, semaphore("free", 2), 60).summary(), "503 fence_persistence");
  EXPECT_EQ(client.enqueue(session, lock("free")).summary(), "503 fence_persistence");
  EXPECT_EQ(client.enqueue(session, semaphore("free", 2)).summary(), "503 fence_persistence");
  EXPECT_EQ(client.wait(session, lock("free"), 0).summary(), "409 not_enqueued")
      << "something is half-granted";
  EXPECT_TRUE(held(observer, lock("free")).is_null());
  EXPECT_TRUE(held(observer, semaphore("free", 2)).is_null());

  EXPECT_EQ(client.get("/ready").summary(), "200 ok");
  EXPECT_EQ(client.renew(session, lock("held"), grant.token, 3'600).status, 200);
  waiting.begin_acquire(other, lock("held"));
  await_waiters(observer, lock("held"), 1);
  EXPECT_EQ(client.release(session, lock("held"), grant.token).summary(), "204");
  EXPECT_EQ(waiting.read_response().summary(), "503 fence_persistence");
  EXPECT_TRUE(held(observer, lock("held")).is_null());

  std::filesystem::remove(flag);
  HttpResponse answer;
  ASSERT_TRUE(eventually(
      [&] { return (answer = client.acquire(session, lock("free"), 0)).status == 200; }));
  EXPECT_GT(grant_in(answer).fence(), taken.last_fence);
}

}  // namespace

}  // namespace dflockd::test
