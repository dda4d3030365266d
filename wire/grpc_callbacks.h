#pragma once

namespace bulla {

// Keeps the threads that gRPC runs callbacks on for as long as the process lives. gRPC 1.51 starts
// them with the first channel or server that has a callback and ends them with the last; ending
// them sometimes aborts the process ("assertion failed: prior > 0" in ref_counted.h, about once in
// three hundred times): a daemon that was asked to stop, or a test after its work is done. Call it
// before the first callback; further calls do nothing.
void KeepGrpcCallbackThreads();

}  // namespace bulla
