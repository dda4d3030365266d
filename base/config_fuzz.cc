// A configuration file of any bytes: read or refused with a message, and the limits hold.

#include <cstdlib>

#include "base/bytes.h"
#include "base/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace std::chrono_literals;
  std::string text = "default";
  bool flag = false;
  int number = 5;
  std::chrono::milliseconds duration = 5s;
  std::vector<std::string> list;
  bulla::ConfigReader reader;
  reader.AddString("http.listen", &text, "");
  reader.AddBool("http.on", &flag, "");
  reader.AddInteger("http.max", &number, "", 1, 10, "");
  reader.AddDuration("http.idle", &duration, 1s, 1h, "");
  reader.AddStringList("enclaves", &list, 3, "");
  absl::Status status = reader.LoadText(bulla::AsText({data, size}), "fuzz.yaml",
                                        [](const char*) -> const char* { return nullptr; });
  if (!status.ok() && status.message().empty()) std::abort();
  if (text.empty() || text.size() > bulla::ConfigReader::kTextBytesMax) std::abort();
  if (number < 1 || number > 10 || duration < 1s || duration > 1h || list.size() > 3) std::abort();
  return 0;
}
