#include "base/await.h"

#include <thread>

namespace bulla {

void PauseBlocking(Duration duration) { std::this_thread::sleep_for(duration); }

}  // namespace bulla
