// Every body, through every parser: no crash, and an answer that is bounded and consistent.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/limits.h"
#include "gateway/http/json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view body(reinterpret_cast<const char*>(data), size);
  bulla::SignRequest request;
  bulla::Error sign = bulla::ParseSign(body, request);
  BULLA_CHECK(sign.ok() == sign.message.empty(), "a refusal says why");
  BULLA_CHECK(sign.message.size() < 400, "a refusal is short");
  std::vector<bulla::BatchItem> items;
  bulla::Error batch = bulla::ParseSignBatch(body, items);
  BULLA_CHECK(items.size() <= bulla::limits::kBatchItemsMax, "a batch is bounded");
  BULLA_CHECK(!batch.ok() || !items.empty(), "a good batch has items");
  bulla::Error create = bulla::ParseCreate(body);
  BULLA_CHECK(!(create.ok() && sign.ok()), "no body is both a create and a sign");
  std::string out;
  bulla::AppendError(sign, "id", 0, out);
  bulla::AppendJsonString(body, out);
  for (char c : out) BULLA_CHECK(c >= ' ' && c <= '~', "what goes out is plain ASCII");
  return 0;
}
