#!/usr/bin/env python3
"""Mutation testing of the simulation: does it find what it is there to find? Each mutation is a
fault that is put into a copy of the gateway's code, alone; simulation_tests is built with it, and
has to fail with the assertion that is named beside it. What a test never fails for, it does not
test.

usage: tests/simulation/mutations.py [--list | --check | NAME...]
  no argument: all of them, ten seconds each, once the copy in build/mutations/ is built
  --check: only that each can still be put in, and that tests/README.md lists it (a ctest)
  --list: the rows of the table in tests/README.md
"""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
COPY = ROOT / "build/mutations"
README = ROOT / "tests/README.md"
SEED = "7919"  # each is found with this one, so that a run says the same tomorrow
TIMEOUT_S = 300  # of a run, which takes 4


@dataclasses.dataclass(frozen=True)
class Mutation:
    name: str
    what: str
    file: str  # under gateway/
    old: str  # stands there once
    new: str
    found_by: str  # of what simulation_tests prints


UNANSWERED = "not answered by its deadline"
NOT_WELL = "healthy()"

MUTATIONS = [
    Mutation("slot_alone", "a reply is matched by its slot, whatever its generation",
             "link/enclave_stream.cc",
             "if (!slot.in_use || slot.generation != sequence >> kSlotBits) return {};",
             "if (!slot.in_use) return {};",
             "the answer to another request"),
    Mutation("lone_call_lost", "a lost stream forgets a call that was alone on it",
             "link/enclave_stream.cc",
             "if (lost.sign_count > 0) pool_.OnLost",
             "if (lost.sign_count > 1) pool_.OnLost",
             UNANSWERED),
    Mutation("creates_lost", "a lost stream forgets keys to be made",
             "link/enclave_stream.cc",
             "for (CreateDone& done : lost.creates) done(ErrorCode::kUnavailable, {});",
             "lost.creates.clear();",
             "keys to be made, not answered"),
    Mutation("late_expiry", "calls expire a second late",
             "link/enclave_stream.cc",
             "return now >= slot.deadline; });",
             "return now >= slot.deadline + std::chrono::seconds(1); });",
             UNANSWERED),
    Mutation("outbox_stuck", "what gathered during a write does not leave when it ends",
             "link/enclave_stream.cc",
             "more = ok && BeginWrite();",
             "more = !ok && BeginWrite();",
             "simulation->TakeTally().of(ErrorCode::kUnlockRequired)"),
    Mutation("batcher_not_told", "the batcher is not told of expired calls",
             "link/stream_pool.cc",
             "void StreamPool::OnExpired(std::size_t count) {\n"
             "  unanswered_.fetch_add(count, std::memory_order_relaxed);\n"
             "  NoLongerInFlight(count);\n",
             "void StreamPool::OnExpired(std::size_t count) {\n"
             "  unanswered_.fetch_add(count, std::memory_order_relaxed);\n",
             "the batcher knows of more"),
    Mutation("batches_not_hot", "batches go on as the settings were at the start",
             "link/stream_pool.cc",
             "  batcher_.SetOptions(BatchOptions(settings_));\n",
             "",
             "2 * hurried"),
    Mutation("held_back_for_ever", "what waits to travel together does not expire",
             "link/stream_pool.cc",
             "gathered = batcher_.TakeExpired(now);",
             "gathered = batcher_.TakeExpired(MonotonicTime());",
             "answered after its deadline"),
    Mutation("completed_twice", "what finds every stream full is completed twice",
             "link/stream_pool.cc",
             "metrics_.exhausted.Increment(static_cast<double>(left));\n",
             "metrics_.exhausted.Increment(static_cast<double>(left));\n"
             "  FailAll(first, ErrorCode::kRetryLater);\n",
             "answered twice"),
    Mutation("no_limit", "no limit to what is with an enclave",
             "link/concurrency_limit.cc",
             "const std::size_t room = limit_ - std::min(limit_, in_flight);",
             "const std::size_t room = asked;",
             "the queue is to be held to 50"),
    Mutation("limit_stays_low", "the limit does not grow back",
             "link/concurrency_limit.cc",
             "limit_ = std::min(static_cast<std::size_t>(limit), options_.max);",
             "limit_ = std::min({static_cast<std::size_t>(limit), options_.max, limit_});",
             "a burst after an overload was refused"),
    Mutation("streams_not_replaced", "lost streams are not replaced",
             "link/enclave_link.cc",
             "void EnclaveLink::OnMissing() {\n"
             "  MutexLock lock(mutex_);\n"
             "  streams_missing_ = true;",
             "void EnclaveLink::OnMissing() {\n"
             "  MutexLock lock(mutex_);\n"
             "  streams_missing_ = false;",
             NOT_WELL),
    Mutation("pool_stays_small", "a pool whose minimum is raised stays as it is",
             "link/enclave_link.cc",
             "if (pool_.missing() > 0) OnMissing();  // streams_min is another\n",
             "",
             "a second after its minimum was raised"),
    Mutation("hello_ignored", "a Hello that failed is ignored",
             "link/enclave_link.cc",
             'if (!reply.ok()) return Lose(Named("hello", reply.status()));',
             "if (!reply.ok()) return;",
             NOT_WELL),
    Mutation("no_reconnect", "a lost enclave is not connected again",
             "link/enclave_link.cc",
             "next_try_ = now + Backoff(attempts_++, lost_);",
             "next_try_ = std::max(now, MonotonicTime::max());",
             NOT_WELL),
    Mutation("leaves_at_once", "an enclave that leaves does not wait for calls under way",
             "link/enclave_link.cc",
             "outstanding() > 0 && now < retire_by_) {",
             "outstanding() > 0 && now > retire_by_) {",
             "what was with it was not answered there"),
    Mutation("batch_timer", "the timer of batches never fires",
             "routing/data_plane.cc",
             "[this](MonotonicTime due) { batch_timer_->WakeBy(due); }",
             "[this](MonotonicTime) { batch_timer_->WakeBy(MonotonicTime::max()); }",
             "tally.of(ErrorCode::kOk)"),
    Mutation("tries_not_timed", "no per-try timeout",
             "routing/router.cc",
             "if (!late) TimeOutTries(*table, now);",
             "if (late) TimeOutTries(*table, now);",
             "fault.errors_max"),
    Mutation("deferred_dropped", "calls that wait for a blob under way are dropped",
             "routing/router.cc",
             "if (deferred != nullptr) Route(deferred);",
             "if (deferred != nullptr && stopping_) Route(deferred);",
             UNANSWERED),
    Mutation("budget_ignored", "the retry budget is ignored",
             "routing/router.cc",
             "if (member && !parts_.retry_budget.TryWithdraw()) {",
             "if (member && !parts_.retry_budget.TryWithdraw() && stopping_) {",
             "more was retried than the budget allows"),
    Mutation("retried_where_it_failed", "a retry goes to where the call failed",
             "routing/retry.h",
             "return member.id() != from && std::find(call.avoid.begin(), avoided, member.id()) == "
             "avoided &&",
             "return (member.id() == from ||\n"
             "            std::find(call.avoid.begin(), avoided, member.id()) == avoided) &&",
             "fault.errors_max"),
    Mutation("waiters_stay", "calls that wait for a blob do not expire",
             "routing/coalescing_fetch.cc",
             "(now >= call->deadline ? expired : load.waiting).Append(call);",
             "(now >= MonotonicTime::max() ? expired : load.waiting).Append(call);",
             UNANSWERED),
    Mutation("no_coalescing", "every call fetches its own blob",
             "routing/coalescing_fetch.cc",
             "return is_new ? Next::kFetch : Next::kWait;",
             "return Next::kFetch;",
             "two loads of one key at a time"),
    Mutation("blob_counts_as_kept", "a blob that was not kept counts as arrived",
             "routing/coalescing_fetch.cc",
             "if (it != loads_.end() && !it->second.fetching) loads_.erase(it);",
             "if (it != loads_.end() && enclave == 0) loads_.erase(it);",
             "waited for a blob that is not on its way"),
    Mutation("all_ejected", "all enclaves may be ejected at once",
             "routing/outlier_detector.h",
             "kEjectedMaxPercent = 50;",
             "kEjectedMaxPercent = 100;",
             "more than half of those that serve are ejected"),
    Mutation("keeps_its_weight", "an enclave that leaves keeps its weight",
             "routing/fleet.cc",
             "next.targets[index] = target;",
             "if (!leaving) next.targets[index] = target;",
             "simulation->IsThere(0)"),
    Mutation("no_rebalancing", "the rebalancer never makes a step",
             "routing/rebalancer.cc",
             "if (step_) fleet_.Make(*step_);",
             "if (step_ && step_->from == nullptr) fleet_.Make(*step_);",
             NOT_WELL),
    Mutation("no_unlocks", "no data key is unlocked",
             "unlock/queue.cc",
             "if (running_ >= concurrency_max || begun_in_second_ >= rate_max) return started;",
             "if (now >= second_begin_) return started;",
             "tally.Errors()"),
    Mutation("unlocked_twice", "a data key is unlocked again while it is being unlocked",
             "unlock/queue.cc",
             "flights_[started.back()].running = true;",
             "flights_[started.back()].running = false;",
             "two unlocks of one data key in one enclave"),
    Mutation("no_unlock_backoff", "an unlock that failed is repeated without a pause",
             "unlock/queue.cc",
             "now + UnlockBackoff(",
             "now + 0 * UnlockBackoff(",
             "16 * pairs"),
]


def source(mutation, root=ROOT):
    return root / "gateway" / mutation.file


def mutated(mutation, text):
    times = text.count(mutation.old)
    if times != 1:
        sys.exit(f"{mutation.name}: gateway/{mutation.file} has this {times} times, want once; say "
                 f"in {pathlib.Path(__file__).name} what stands there now:\n{mutation.old}")
    return text.replace(mutation.old, mutation.new)


def row(mutation):
    return f"| `{mutation.name}` | {mutation.what} | `{mutation.found_by}` |"


def check():
    for mutation in MUTATIONS:
        mutated(mutation, source(mutation).read_text())
    listed = [line for line in README.read_text().splitlines() if line.startswith("| `")
              and line.split("`")[1] in {mutation.name for mutation in MUTATIONS}]
    wanted = [row(mutation) for mutation in MUTATIONS]
    if listed != wanted:
        sys.exit("tests/README.md: the table of mutations is another, want:\n"
                 + "\n".join(wanted))


def run(command, **options):
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False, **options)


def must(command, **options):
    done = run(command, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stdout}")
    return done.stdout


def copy_tree():
    """What git knows of or would add; what is the same already keeps its time."""
    names = must(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT)
    for name in filter(None, names.split("\0")):
        to = COPY / name
        if not (ROOT / name).is_file():
            to.unlink(missing_ok=True)
        elif not to.is_file() or to.read_bytes() != (ROOT / name).read_bytes():
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to)
    if (ROOT / "build/engine").is_dir():
        shutil.copytree(ROOT / "build/engine", COPY / "build/engine", dirs_exist_ok=True)


def build():
    environment = {**os.environ, "CCACHE_BASEDIR": str(COPY), "CCACHE_NOHASHDIR": "1"}
    return run(["ninja", "-C", COPY / "build/release", "simulation_tests"], env=environment)


def simulate():
    """The status and what it printed; None for a run that does not end."""
    try:
        done = run([COPY / "build/release/tests/simulation_tests"], timeout=TIMEOUT_S,
                   env={**os.environ, "BULLA_TEST_SEED": SEED})
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout


def verdict(mutation):
    """Empty when it was found as it is to be."""
    path = source(mutation, COPY)
    sound = path.read_text()
    path.write_text(mutated(mutation, sound))
    try:
        built = build()
        if built.returncode != 0:
            return f"does not build:\n{built.stdout}"
        status, output = simulate()
    finally:
        path.write_text(sound)
    if status is None:
        return f"the run had not ended after {TIMEOUT_S} s"
    if status == 0:
        return "NOT FOUND"
    if status != 1:
        return f"the run ended with {status}, want a failed assertion:\n{output[-2000:]}"
    if any(mutation.found_by in failure for failure in output.split("Failure\n")[1:]):
        return ""
    return f"found by another assertion than {mutation.found_by}:\n{output[:6000]}"


def main():
    names = sys.argv[1:]
    if names in (["--help"], ["-h"]):
        print(__doc__)
        return
    if names == ["--check"]:
        return check()
    if names == ["--list"]:
        print("\n".join(map(row, MUTATIONS)))
        return
    unknown = set(names) - {mutation.name for mutation in MUTATIONS}
    if unknown:
        sys.exit(f"there is no mutation {', '.join(sorted(unknown))}; --list shows them")
    copy_tree()
    must(["cmake", "--preset", "release", "-DBULLA_TESTS=ON"], cwd=COPY)
    built = build()
    if built.returncode != 0:
        sys.exit(built.stdout)
    if simulate()[0] != 0:
        sys.exit("simulation_tests fails without any mutation; mend that first")
    bad = 0
    for mutation in MUTATIONS:
        if names and mutation.name not in names:
            continue
        found = verdict(mutation)
        print(f"{mutation.name}: {found or 'found: ' + mutation.found_by}", flush=True)
        bad += found != ""
    sys.exit(f"{bad} were not found as they are to be" if bad else 0)


if __name__ == "__main__":
    main()
