#!/usr/bin/env python3
"""Ways to break the server, each of which the simulator must see.

A mutant is a copy of one .cpp file in which one piece of text is replaced. `mutants.py list` prints
their names and files, for CMake; `mutants.py make NAME FILE OUTPUT` writes one. The text must be in
the file exactly once, so that a mutant does not silently become the original when the code moves.
"""

import sys
from pathlib import Path
from typing import NamedTuple


class Mutant(NamedTuple):
    name: str
    file: str
    old: str
    new: str


TABLE = "locks/lock_table.cpp"
CLAIMS = "locks/lock_table_claims.cpp"
FENCE_FILE = "fencing/fence_file.cpp"
TERMS = "base/terms.cpp"
REQUEST = "protocol/request.cpp"
FRAMER = "protocol/framer.cpp"
SERVICE = "service/service.cpp"
COMMANDS = "protocol/commands.cpp"
STATS = "service/stats_report.cpp"
LINE_SESSION = "protocol/line_session.cpp"
HTTP_SESSION = "http/http_session.cpp"
CALLERS = "http/callers.cpp"
PUMP = "net/pump.cpp"

# What the definition of the pump, which is a template, needs to be one of the simulation's.
SIMULATED = """
#include "support/simulated_stream.hpp"
template class dflockd::net::Pump<dflockd::net::SimulatedStream>;
"""

MUTANTS = [
    # --- Queues ---
    Mutant("release_wakes_nobody", TABLE,
           "  if (claim == nullptr) return {Outcome::kNotHeld};\n  give_up_slot(*claim);\n",
           "  if (claim == nullptr) return {Outcome::kNotHeld};\n  KeyRecord& key_of_it = *claim->key;\n  forget(*claim);\n"
           "  if (key_of_it.holder_count == 0 && key_of_it.waiters.empty()) start_idling(key_of_it);\n"),
    Mutant("last_come_first_served", CLAIMS,
           "  claim = &new_claim(owner, *key, request);\n  key->waiters.push_back(*claim);\n",
           "  claim = &new_claim(owner, *key, request);\n"
           "  base::IntrusiveList<Claim, &Claim::in_key> others;\n"
           "  while (!key->waiters.empty()) {\n"
           "    Claim& other = *key->waiters.front();\n"
           "    key->waiters.remove(other);\n"
           "    others.push_back(other);\n"
           "  }\n"
           "  key->waiters.push_back(*claim);\n"
           "  while (!others.empty()) {\n"
           "    Claim& other = *others.front();\n"
           "    others.remove(other);\n"
           "    key->waiters.push_back(other);\n"
           "  }\n"),
    Mutant("one_slot_too_many", CLAIMS,
           "(key->waiters.empty() && key->has_room(request.shared))",
           "(key->waiters.empty() && (key->limit > 1 || key->has_room(request.shared)))"),
    Mutant("timeout_stays_in_queue", CLAIMS,
           "    forget(claim);\n    effects_.take({owner, {key.kind, key.name}, {why}});\n",
           "    if (why == Outcome::kTimeout) {\n      claim.owner->blocked = nullptr;\n"
           "      deadlines_.remove(claim);\n    } else {\n      forget(claim);\n    }\n"
           "    effects_.take({owner, {key.kind, key.name}, {why}});\n"),
    Mutant("disconnect_stays_in_queue", TABLE,
           "  cancel_claims(owner);\n"
           "  for (Claim* claim = owner.claims.front(); claim != nullptr;) {\n"
           "    Claim& held = *std::exchange(claim, owner.claims.next(*claim));\n"
           "    if (orphans) {\n",
           "  for (Claim* claim = owner.claims.front(); claim != nullptr;) {\n"
           "    Claim& held = *std::exchange(claim, owner.claims.next(*claim));\n"
           "    if (held.state != ClaimState::kHeld) continue;\n"
           "    if (orphans) {\n"),
    Mutant("cancelled_wait_is_granted", TABLE,
           "Answer LockTable::carry_out(Instant now, const CancelWait& command) {\n",
           "Answer LockTable::carry_out(Instant now, const CancelWait& command) {\n  advance(now);\n"),
    Mutant("full_queue_takes_one_more", CLAIMS,
           "key->waiter_count >= options_.max_waiters", "key->waiter_count > options_.max_waiters"),

    # --- Two phases ---
    Mutant("enqueue_forgets_its_state", TABLE,
           "  if (answer.outcome == Outcome::kGranted || answer.outcome == Outcome::kQueued) {\n",
           "  if (answer.outcome == Outcome::kQueued) {\n"),
    Mutant("enqueue_twice", TABLE,
           "if (earlier->state != ClaimState::kEnded) return {Outcome::kAlreadyEnqueued};\n",
           "if (earlier->state == ClaimState::kHeld) return {Outcome::kAlreadyEnqueued};\n"
           "      if (earlier->state == ClaimState::kWaiting) return {Outcome::kQueued};\n"),
    Mutant("wait_does_not_restart_the_lease", TABLE,
           "    deadlines_.set(*claim, later(now_, claim->lease));\n    return answer_with(*claim);\n",
           "    return answer_with(*claim);\n"),
    Mutant("wait_may_have_expired_unnoticed", CLAIMS,
           "    keep_for_wait(claim, Outcome::kLeaseExpired);\n",
           "    keep_for_wait(claim, Outcome::kNotEnqueued);\n"),
    Mutant("impatient_wait_keeps_its_place", CLAIMS,
           "    leave_queue(claim);\n    return {Outcome::kTimeout};\n",
           "    claim.in_phase_one = true;\n"
           "    phase_one_.insert(hash_of(*claim.owner, *claim.key), claim.slot);\n"
           "    return {Outcome::kTimeout};\n"),

    Mutant("renews_what_has_expired", TABLE,
           "const Renew& command) {\n  advance(now);\n",
           "const Renew& command) {\n  now_ = std::max(now_, now);\n"),
    Mutant("releases_what_has_expired", TABLE,
           "const Release& command) {\n  advance(now);\n",
           "const Release& command) {\n  now_ = std::max(now_, now);\n"),
    Mutant("compares_fences_only", TABLE,
           "claim->token == token ? claim : nullptr",
           "claim->token.fence == token.fence ? claim : nullptr"),
    Mutant("lease_ends_just_too_late", TABLE,
           "deadlines_.front_deadline() <= now_) {", "deadlines_.front_deadline() < now_) {"),
    Mutant("time_goes_back", TABLE,
           "void LockTable::advance(Instant now) {\n  now_ = std::max(now_, now);\n",
           "void LockTable::advance(Instant now) {\n  now_ = now;\n"),
    Mutant("timer_is_not_set_for_an_earlier_deadline", SERVICE,
           "if (table_.next_deadline() < armed_for_) arm_timer();",
           "if (armed_for_ == locks::kNever) arm_timer();"),
    Mutant("renewal_forgets_the_default", SERVICE,
           "locks::Renew{owner, key, token, lease_for(lease)}",
           "locks::Renew{owner, key, token,\n"
           "      lease_for(lease == std::chrono::seconds::zero() ? std::chrono::seconds(33) : lease)}"),
    Mutant("renewal_is_not_cut", SERVICE,
           "locks::Renew{owner, key, token, lease_for(lease)}",
           "locks::Renew{owner, key, token,\n"
           "      lease == std::chrono::seconds::zero() ? options_.default_lease : lease}"),
    Mutant("lease_is_not_cut", SERVICE,
           ".lease = lease_for(ask.lease),",
           ".lease = ask.lease == std::chrono::seconds::zero() ? options_.default_lease : ask.lease,"),
    Mutant("default_lease_is_not_cut", SERVICE,
           "  options.default_lease = std::min(options.default_lease, options.max_lease);\n", ""),

    # --- Keys ---
    Mutant("one_claim_too_many", TABLE,
           "counts_.claims >= options_.max_claims", "counts_.claims > options_.max_claims"),
    Mutant("one_claim_too_few", TABLE,
           "counts_.claims >= options_.max_claims", "counts_.claims + 1 >= options_.max_claims"),
    Mutant("queue_takes_claims_beyond_the_cap", CLAIMS,
           "  if (full_of_claims()) return {Outcome::kMaxLocks};\n  claim =", "  claim ="),
    Mutant("ended_states_are_not_counted", CLAIMS,
           "  --claim.owner->active;\n}\n\nvoid LockTable::end_phase_one",
           "  --claim.owner->active;\n  --counts_.claims;\n}\n\nvoid LockTable::end_phase_one"),
    Mutant("full_table_refuses", TABLE,
           "    KeyRecord* dropped = longest_idle();\n", "    KeyRecord* dropped = nullptr;\n"),
    Mutant("drops_the_shortest_idle", TABLE,
           "  return with_ended->idle_since < plain->idle_since ? with_ended : plain;\n",
           "  return with_ended->idle_since < plain->idle_since ? plain : with_ended;\n"),
    Mutant("any_limit_will_do", CLAIMS,
           "  if (key != nullptr && key->limit != request.limit) return {Outcome::kLimitMismatch};\n",
           "  if (key != nullptr && key->limit < request.limit) return {Outcome::kLimitMismatch};\n"),
    Mutant("collects_what_may_be_asked_for", TABLE,
           "  for (; dropped < budget && due(); ++dropped) drop_key(*idle_.front());\n",
           "  for (KeyRecord* key = longest_idle(); dropped < budget && key != nullptr &&\n"
           "                                  now_ - key->idle_since >= max_idle; key = longest_idle()) {\n"
           "    drop_key(*key);\n    ++dropped;\n  }\n"),

    # --- The end of a connection, draining ---
    Mutant("keeps_what_was_granted_in_the_end", TABLE,
           "!command.legacy.keeps_grants || held.token.fence >= undelivered",
           "!command.legacy.keeps_grants || undelivered == UINT64_MAX"),
    Mutant("keeps_what_no_answer_named", TABLE,
           "    return held.answers > std::ranges", "    return 1 > std::ranges"),
    Mutant("counts_one_answer_only", TABLE,
           "    return held.answers > std::ranges", "    return held.answers > 0 && 1 > std::ranges"),
    Mutant("drain_leaves_grants_that_no_answer_named", TABLE,
           "      if (held.answers > 0 || held.orphaned) continue;\n", "      continue;\n"),
    Mutant("drain_forgets_the_places_it_takes", TABLE,
           "  if (claim == nullptr) return {Outcome::kNotEnqueued};\n",
           "  if (claim == nullptr || (draining_ && claim->ended_with == Outcome::kDraining)) return {Outcome::kNotEnqueued};\n"),

    # --- Fences ---
    Mutant("same_fence_after_a_release", CLAIMS,
           "  claim.token.fence = next_fence_++;\n",
           "  claim.token.fence = next_fence_;\n  next_fence_ += (grants_ % 7 != 3);\n"),
    Mutant("refuses_without_a_fence_but_keeps_waiting", CLAIMS,
           "      end_wait(head, Outcome::kNoFence);\n      continue;\n", "      break;\n"),
    Mutant("fences_granted_before_they_are_synced", FENCE_FILE,
           "  if (!error) error = sync(*ops_, file_.get());\n  if (error) return error;\n  newest_ = slot;\n",
           "  if (error) return error;\n  newest_ = slot;\n"),
    Mutant("slot_promises_what_it_took_only", FENCE_FILE,
           ".limit = limit, .step = most_};", ".limit = limit, .step = limit - newest_.limit};"),
    Mutant("takes_more_than_the_slots_promise", FENCE_FILE,
           "const Slot slot{.sequence = newest_.sequence + 1, .limit = limit, .step = most_};",
           "const Slot slot{.sequence = newest_.sequence + 1, .limit = limit, .step = most_ / 2};"),
    Mutant("reads_the_older_slot", FENCE_FILE,
           "return std::max(slots[0]->limit, slots[1]->limit);",
           "return std::min(slots[0]->limit, slots[1]->limit);"),
    Mutant("trusts_a_single_slot", FENCE_FILE,
           "raised_or_refuse(place, intact.limit, intact.step)", "raised_or_refuse(place, intact.limit, 0)"),
    Mutant("begins_with_the_older_slot", FENCE_FILE,
           "both_intact ? 1 - newest_at : newest_at", "both_intact ? newest_at : newest_at"),
    Mutant("failed_reservation_counts", SERVICE,
           "  if (!result.error) {\n",
           "  if (result.error) table_.apply(now(), locks::ReserveFences{table_.next_fence(), result.end + 64});\n"
           "  if (!result.error) {\n"),
    Mutant("asks_for_fences_once", SERVICE,
           "  next_reservation_ = now() + kReservationPause;\n", "  next_reservation_ = locks::kNever;\n"),

    # --- Bytes ---
    Mutant("uppercase_tokens", TERMS, '"0123456789abcdef"[value]', '"0123456789ABCDEF"[value]'),
    Mutant("more_arguments_than_allowed", REQUEST,
           "  return read && words.next().empty();\n", "  return read;\n"),
    Mutant("lease_of_nothing", REQUEST,
           "word.empty() || read_seconds(word, 1, request.lease)",
           "word.empty() || read_seconds(word, 0, request.lease)"),
    Mutant("line_one_byte_too_long", FRAMER,
           "if (length > kMaxLine && length > longest_line(unread))",
           "if (length > kMaxLine + 1 && length > longest_line(unread))"),
    Mutant("skips_a_byte_between_two_pieces", FRAMER,
           "      looked_at_ = unread.size();\n", "      looked_at_ = unread.size() + 1;\n"),
    Mutant("enqueue_says_ok", COMMANDS,
           "  append_acquired(", "  append_grant("),

    # --- Connections ---
    Mutant("undelivered_answer_is_kept", LINE_SESSION,
           "  if (answer_.outcome == locks::Outcome::kGranted) fences.push_back(answer_.token.fence);\n", ""),
    Mutant("grant_goes_to_a_peer_that_is_gone", LINE_SESSION,
           "  if (door_.service.keeps_grants() && outlet_.peer_gone()) hung_up_ = true;\n", ""),
    Mutant("hang_up_while_blocked_keeps_the_place", LINE_SESSION,
           "    case Phase::kWaiting:\n      if (hung_up_) return drop(\"peer_left\");\n",
           "    case Phase::kWaiting:\n"),
    Mutant("carries_out_without_auth", LINE_SESSION,
           "return !authenticated_ || (", "return ("),
    Mutant("accepts_a_wrong_secret", LINE_SESSION,
           "if (!accepted || request.verb != Verb::kAuth)", "if (request.verb != Verb::kAuth)"),
    Mutant("drain_answers_twice", LINE_SESSION,
           "  count(blocked_label_, append_answer(",
           "  if (answer_.outcome == locks::Outcome::kDraining) append_answer(replies, answer_);\n"
           "  count(blocked_label_, append_answer("),
    Mutant("answer_goes_on_in_the_middle_of_another", PUMP,
           "at_ != At::kReception || !input_.empty() || hung_up_", "at_ != At::kReception || hung_up_"),
    Mutant("replies_leave_before_the_commit", PUMP,
           "if (unsent_.empty() && room_.batches.all_committed()) sent", "if (unsent_.empty()) sent"),
    Mutant("half_a_reply_counts_as_delivered", PUMP,
           "std::string_view(unsent_).substr(whole)", "std::string_view(unsent_).substr(sent_ + 0 * whole)"),
    Mutant("unread_requests_are_lost_at_a_hang_up", PUMP,
           "if (error == asio::error::would_block) self->end(",
           "if (error == asio::error::would_block || self->hung_up_) self->end("),

    # --- Callers ---
    Mutant("caller_leaves_and_keeps_its_place", CALLERS,
           "  if (blocked_ && !session.closed_) session.callers_.service_.cancel_wait(session.owner_);\n", ""),
    Mutant("session_ends_and_keeps_its_locks", CALLERS,
           "  if (forget(session)) service_.release_owner(session.owner_);\n", "  forget(session);\n"),
    Mutant("requests_overtake_on_a_session", CALLERS,
           "  return session_->turns_.front() == this;\n", "  return true;\n"),
    Mutant("session_ends_too_early", CALLERS, "->active_at_) / 2 <", "->active_at_) <"),
    Mutant("grant_goes_to_a_caller_that_is_gone", HTTP_SESSION,
           "if (is_new_grant(*answer) && outlet_.peer_gone())", "if (is_new_grant(*answer) && hung_up_)"),
    Mutant("grant_that_a_caller_left_is_kept", HTTP_SESSION,
           "if (turn_->answer() && is_new_grant(*turn_->answer()))",
           "if (turn_->answer() && is_new_grant(*turn_->answer()) && !hung_up_)"),
    Mutant("accepts_any_token_of_a_bearer", HTTP_SESSION,
           "return door_.authenticator.accepts(token.value_or(given)) && token;",
           "return door_.authenticator.accepts(token.value_or(given)) || token;"),

    # --- Shared claims ---
    Mutant("reader_overtakes_a_writer", CLAIMS,
           "(key->waiters.empty() && key->has_room(request.shared))",
           "((key->waiters.empty() || request.shared) && key->has_room(request.shared))"),
    Mutant("group_grant_stops_after_one", CLAIMS,
           "answer_with(head)});\n    }\n  }\n  if (key.holder_count == 0 && !key.idle)",
           "answer_with(head)});\n    }\n    if (head.shared) break;\n  }\n  if (key.holder_count == 0 && !key.idle)"),
    Mutant("group_grant_takes_one_too_many", CLAIMS,
           "  while (!key.waiters.empty() && key.has_room(key.waiters.front()->shared)) {\n",
           "  while (!key.waiters.empty() && (key.has_room(key.waiters.front()->shared) ||\n"
           "                                  (key.holder_count > 1 && key.holders.front()->shared))) {\n"),
    Mutant("writer_that_gives_up_lets_nobody_in", TABLE,
           "      end_wait(due, Outcome::kTimeout);\n      serve_queue(key);\n",
           "      const bool shared = due.shared;\n      end_wait(due, Outcome::kTimeout);\n"
           "      if (shared || key.holder_count == 0) serve_queue(key);\n"),
    Mutant("shared_request_is_exclusive", SERVICE, ".shared = ask.shared};", ".shared = false};"),

    # --- Stable refs ---
    Mutant("orphan_is_released_early", CLAIMS,
           "  const Instant end = later(now_, legacy.orphan_ttl);\n",
           "  const Instant end = later(now_, legacy.orphan_ttl / 2);\n"),
    Mutant("orphan_is_kept_for_its_lease", CLAIMS,
           "  } else if (!claim.keeps_lease) {\n    end_by(claim, end);\n  }\n", "  }\n"),
    Mutant("orphaned_place_is_kept_for_ever", CLAIMS,
           "    deadlines_.set(claim, end);\n  } else if", "    deadlines_.set(claim, kNever);\n  } else if"),
    Mutant("living_owner_is_displaced", TABLE,
           "  if (owner.ref == nullptr || owner.ref->only_owner() != &owner) return nullptr;\n",
           "  if (owner.ref == nullptr) return nullptr;\n"),
    Mutant("place_is_lost_with_its_connection", TABLE,
           "  if (orphans) orphan_waits(owner, command.legacy);\n  cancel_claims(owner);\n", "  cancel_claims(owner);\n"),
    Mutant("lease_goes_on_at_the_hand_back", CLAIMS,
           "  deadlines_.set(claim, later(now_, claim.lease));\n  return answer_with(claim);\n}\n\n/// Whether an owner",
           "  return answer_with(claim);\n}\n\n/// Whether an owner"),
    Mutant("hand_back_names_another_token", CLAIMS,
           "  return answer_with(claim);\n}\n\n/// Whether an owner",
           "  claim.token.salt ^= 1U;\n  return answer_with(claim);\n}\n\n/// Whether an owner"),
    Mutant("reader_takes_a_writers_claim_back", CLAIMS,
           "  if (claim.shared != request.shared) return {Outcome::kModeMismatch};\n", ""),
    Mutant("renewal_leaves_the_ttl_running", TABLE,
           "    claim->answers = 1;  // which the caller has\n  }\n",
           "    claim->answers = 1;  // which the caller has\n    return {.lease = command.lease};\n  }\n"),
    Mutant("renewal_leaves_the_orphan", TABLE,
           "  if (claim->orphaned) {\n    adopt(*claim, owner_of(command.owner));\n",
           "  if (claim->orphaned && !claim->ttl_is_over) {\n    adopt(*claim, owner_of(command.owner));\n"),
    Mutant("waiter_is_not_reunited", TABLE, "    reunite(*owner.ref);\n", ""),
    Mutant("reunites_readers_and_writers", CLAIMS,
           "  return orphan.shared == place.shared &&\n         (", "  return ("),
    Mutant("reunites_with_a_later_place", CLAIMS,
           "orphan.state == ClaimState::kHeld || orphan.order < place.order", "orphan.state <= ClaimState::kHeld"),
    Mutant("second_ref_is_accepted", TABLE,
           "  if (owner.ref != nullptr) return {Outcome::kHasRef};\n", "  if (owner.ref != nullptr) return {};\n"),
    Mutant("drain_hands_nothing_back", TABLE,
           "  if (draining_ && orphan == nullptr) return {Outcome::kDraining};\n  const IfBusy",
           "  if (draining_) return {Outcome::kDraining};\n  const IfBusy"),
    Mutant("session_that_its_caller_ends_leaves_orphans", CALLERS,
           "  if (forget(session)) service_.release_owner(session.owner_);\n",
           "  if (forget(session)) service_.close_owner(session.owner_, {});\n"),

    # --- What tells of it ---
    Mutant("stat_counts_readers_once", STATS, "info->limit, holders, info->holders,", "info->limit, holders, info->shared ? 1U : info->holders,"),
    Mutant("request_before_a_turn_is_no_sign_of_life", PUMP,
           "  if (next != deadline() || (served &&", "  if (next != deadline() || (served && want != Want::kTurn &&"),
]


def make(name, source, output):
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    text = Path(source).read_text()
    if text.count(mutant.old) != 1:
        sys.exit(f"{name}: its text is {text.count(mutant.old)} times in {source}, not once:\n{mutant.old}")
    Path(output).write_text(text.replace(mutant.old, mutant.new) + (SIMULATED if mutant.file == PUMP else ""))


if __name__ == "__main__":
    if sys.argv[1:] == ["list"]:
        print(";".join(f"{mutant.name}={mutant.file}" for mutant in MUTANTS))
    elif len(sys.argv) == 5 and sys.argv[1] == "make":
        make(*sys.argv[2:])
    else:
        sys.exit(__doc__)
