#pragma once

// What gRPC 1.51 is told once in a process, about the threads that it runs callbacks on.

namespace bulla {

// Keeps the threads that gRPC runs callbacks on for as long as the process lives. gRPC 1.51 starts
// them with the first channel or server that has a callback and ends them with the last; ending
// them sometimes aborts the process ("assertion failed: prior > 0" in ref_counted.h, about once in
// three hundred times): a daemon that was asked to stop, or a test after its work is done. Call it
// before the first callback; further calls do nothing.
void KeepGrpcCallbackThreads();

// For daemons, whose callbacks never block; before there is traffic. Leaves one of those threads
// for each eight CPUs to run callbacks, and puts the rest to sleep for good: gRPC starts one for
// each two CPUs, at least two, and they take turns at waiting for the next event, waking each
// other, so that a message costs twice the context switches. And ends Abseil's search for
// deadlocks, which Debian builds in and gRPC's every lock pays for. What gRPC logs becomes lines of
// our log, which are limited: a peer can make it log as often as it likes.
void TuneGrpcForTraffic();

}  // namespace bulla
