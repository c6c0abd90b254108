// The client library of dflockd: locks and semaphores that many machines share.
//
//     dflockd::LockOptions options;
//     options.key = "etl-job";
//     options.servers = {"127.0.0.1:6388"};
//     dflockd::Lock lock(options);
//     if (!lock.acquire()) return;  // somebody else has it
//     run_the_job();                // renewed in the background; see lock.held()
//     lock.release();               // the destructor does it too
//
// docs/client.md is the guide. `dflockd/asio.hpp`, for programs that use asio, is not included
// here.
#pragma once

#include <dflockd/connection.hpp>
#include <dflockd/error.hpp>
#include <dflockd/grant.hpp>
#include <dflockd/lock.hpp>
#include <dflockd/options.hpp>
#include <dflockd/semaphore.hpp>
#include <dflockd/shard.hpp>
